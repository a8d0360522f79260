-- Age limits are those of whoever has planned them: the next owner's plan changes none of the one before.
CREATE TABLE cloud_keep_of (
    domain TEXT NOT NULL,
    user_id TEXT NOT NULL,
    pu TEXT NOT NULL,
    channel BIGINT NOT NULL,
    max_age_s BIGINT,
    event_max_age_s BIGINT,
    PRIMARY KEY (domain, user_id, pu, channel)
);
INSERT INTO cloud_keep_of (domain, user_id, pu, channel, max_age_s, event_max_age_s)
    SELECT domain, user_id, pu, channel, max_age_s, event_max_age_s FROM cloud_keep;
DROP TABLE cloud_keep;
ALTER TABLE cloud_keep_of RENAME TO cloud_keep;

-- Chains whose terms (locks and age limits, decision 0112) are to be written to the store. The revision
-- rises with every change.
CREATE TABLE cloud_terms_due (
    domain TEXT NOT NULL,
    chain TEXT NOT NULL,
    user_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    PRIMARY KEY (domain, chain, user_id)
);

-- Devices of which a user has deleted everything: what else lies of them in the store goes, too.
CREATE TABLE cloud_erase (
    domain TEXT NOT NULL,
    user_id TEXT NOT NULL,
    pu TEXT NOT NULL,
    PRIMARY KEY (domain, user_id, pu)
);
