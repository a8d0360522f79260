-- The list of what lies in the cloud storage (decision 0096).

-- Space of each user. used_bytes counts what is reserved, stored or leaving; quota_bytes is absent where
-- the free allowance holds.
CREATE TABLE cloud_account (
    domain TEXT NOT NULL,
    user_id TEXT NOT NULL,
    used_bytes BIGINT NOT NULL,
    quota_bytes BIGINT,
    PRIMARY KEY (domain, user_id)
);

-- Chains that devices have begun, with their first entry as it was signed.
CREATE TABLE cloud_chain (
    domain TEXT NOT NULL,
    chain TEXT NOT NULL,
    pu TEXT NOT NULL,
    channel BIGINT NOT NULL,
    tier TEXT NOT NULL,
    encoded TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (domain, chain)
);

-- Segments. state: 0 reserved, 1 stored, 2 leaving. Times are corrected; what was added to those in the
-- entry is in correction_us. boot: 16 hexadecimal digits.
CREATE TABLE cloud_segment (
    domain TEXT NOT NULL,
    chain TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    pu TEXT NOT NULL,
    channel BIGINT NOT NULL,
    tier TEXT NOT NULL,
    state BIGINT NOT NULL,
    run BIGINT NOT NULL,
    boot TEXT NOT NULL,
    start_us BIGINT NOT NULL,
    end_us BIGINT NOT NULL,
    correction_us BIGINT NOT NULL,
    time_known BIGINT NOT NULL,
    event BIGINT NOT NULL,
    locked BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    encoded TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (domain, chain, sequence)
);
CREATE INDEX cloud_segment_time
    ON cloud_segment (domain, user_id, pu, channel, tier, state, start_us);
CREATE INDEX cloud_segment_oldest ON cloud_segment (domain, user_id, state, locked, end_us);
CREATE INDEX cloud_segment_state ON cloud_segment (domain, state, changed_at);

-- Entries that are no segments, but for those that begin a chain. reason: of gaps; absent: a step of the
-- clock.
CREATE TABLE cloud_note (
    domain TEXT NOT NULL,
    chain TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    pu TEXT NOT NULL,
    channel BIGINT NOT NULL,
    tier TEXT NOT NULL,
    from_us BIGINT NOT NULL,
    reason TEXT,
    encoded TEXT NOT NULL,
    signature TEXT NOT NULL,
    PRIMARY KEY (domain, chain, sequence)
);
CREATE INDEX cloud_note_time ON cloud_note (domain, user_id, pu, channel, from_us);

-- How long recordings of a camera stay, as its plan says.
CREATE TABLE cloud_keep (
    domain TEXT NOT NULL,
    pu TEXT NOT NULL,
    channel BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    max_age_s BIGINT,
    event_max_age_s BIGINT,
    PRIMARY KEY (domain, pu, channel)
);
