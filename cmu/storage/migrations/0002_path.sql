-- How media travels, and what that costs. Networks are prefixes (/24, /48), never addresses.

-- Where the viewer asked from and where the device was, as networks.
ALTER TABLE play_token ADD COLUMN viewer_network TEXT;
ALTER TABLE play_token ADD COLUMN pu_network TEXT;
-- What the CU reports of the session.
ALTER TABLE play_token ADD COLUMN viewer_path TEXT;
ALTER TABLE play_token ADD COLUMN viewer_nat TEXT;
ALTER TABLE play_token ADD COLUMN stages TEXT;
-- The rung that the session stands on, as it is counted in network_stat.
ALTER TABLE play_token ADD COLUMN rung TEXT;

-- What the device has measured of the NATs in front of it.
ALTER TABLE device ADD COLUMN nat TEXT;

-- Counts by day (since 1970), side ("viewer" or "pu") and network. A metric with a distribution has
-- a row for each bucket.
CREATE TABLE network_stat (
    domain TEXT NOT NULL,
    day BIGINT NOT NULL,
    side TEXT NOT NULL,
    network TEXT NOT NULL,
    metric TEXT NOT NULL,
    bucket BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (domain, day, side, metric, network, bucket)
);

-- What MTUs relayed, a row for each allocation; figures are cumulative. The numbers of a run of an
-- MTU begin anew with the next one.
CREATE TABLE relay_usage (
    domain TEXT NOT NULL,
    mtu TEXT NOT NULL,
    run TEXT NOT NULL,
    allocation BIGINT NOT NULL,
    session TEXT NOT NULL,
    -- Copied from the session's token, which is forgotten earlier.
    user_id TEXT,
    viewer_network TEXT,
    pu_network TEXT,
    bytes_to_peers BIGINT NOT NULL,
    bytes_from_peers BIGINT NOT NULL,
    packets BIGINT NOT NULL,
    from_at BIGINT NOT NULL,
    to_at BIGINT NOT NULL,
    allocated_s BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    PRIMARY KEY (domain, mtu, run, allocation)
);
CREATE INDEX relay_usage_from ON relay_usage (domain, from_at);
CREATE INDEX relay_usage_user ON relay_usage (domain, user_id, from_at);
