-- Which NVR records which camera (A8.7.2). A row holds while it has not ended and both devices are bound as
-- they were when it was made. The numbers of an NVR are never given twice, so ended rows stay.
CREATE TABLE relation (
    domain TEXT NOT NULL,
    nvr TEXT NOT NULL,
    number BIGINT NOT NULL,
    pu TEXT NOT NULL,
    channel BIGINT NOT NULL,
    nvr_binding TEXT NOT NULL,
    pu_binding TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT,
    PRIMARY KEY (domain, nvr, number)
);
CREATE UNIQUE INDEX relation_camera ON relation (domain, pu, channel) WHERE ended_at IS NULL;

-- What the device says that it is, and a number that rises with every change of its relations.
ALTER TABLE device ADD COLUMN kind TEXT NOT NULL DEFAULT 'pu';
ALTER TABLE device ADD COLUMN relations BIGINT NOT NULL DEFAULT 0;

-- The NVR that takes the stream by its relation; absent: a CU watches.
ALTER TABLE play_token ADD COLUMN nvr TEXT;
