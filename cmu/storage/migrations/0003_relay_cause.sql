-- Why the session is relayed, as it is counted in network_stat; absent while it is not.
ALTER TABLE play_token ADD COLUMN relay_cause TEXT;
