-- What the device has reported of its recordings and their storage, as JSON; absent: it does not record.
ALTER TABLE device ADD COLUMN recorder TEXT;
