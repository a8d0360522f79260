-- One text for SQLite and PostgreSQL: ids and JSON as TEXT, times as BIGINT microseconds since
-- 1970, flags as BIGINT 0 or 1. Every row carries the domain.
CREATE TABLE account (
    domain TEXT NOT NULL,
    id TEXT NOT NULL,
    phone TEXT NOT NULL,
    subscription TEXT NOT NULL,
    is_operator BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (domain, id),
    UNIQUE (domain, phone)
);

CREATE TABLE sms_code (
    domain TEXT NOT NULL,
    phone TEXT NOT NULL,
    hash TEXT NOT NULL,
    tries BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (domain, phone)
);

-- Generic cell rate algorithm: when the key's budget is full again.
CREATE TABLE rate_limit (
    domain TEXT NOT NULL,
    key TEXT NOT NULL,
    full_at BIGINT NOT NULL,
    PRIMARY KEY (domain, key)
);

CREATE TABLE sign_in (
    domain TEXT NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    client_id TEXT NOT NULL,
    client_key TEXT NOT NULL,
    client_name TEXT NOT NULL,
    current_hash TEXT NOT NULL,
    previous_hash TEXT,
    rotated_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked BIGINT NOT NULL,
    PRIMARY KEY (domain, id)
);
CREATE INDEX sign_in_user ON sign_in (domain, user_id);

CREATE TABLE device (
    domain TEXT NOT NULL,
    pu TEXT NOT NULL,
    public_key TEXT NOT NULL,
    claim_hash TEXT NOT NULL,
    claim_unlocked BIGINT NOT NULL,
    agent TEXT NOT NULL,
    channels TEXT NOT NULL,
    addresses TEXT NOT NULL,
    observed TEXT NOT NULL,
    scu TEXT NOT NULL,
    scu_url TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    lease_expires_at BIGINT NOT NULL,
    announced BIGINT NOT NULL,
    first_seen BIGINT NOT NULL,
    registered_at BIGINT NOT NULL,
    PRIMARY KEY (domain, pu)
);
CREATE INDEX device_lease ON device (domain, announced, lease_expires_at);

CREATE TABLE binding (
    domain TEXT NOT NULL,
    pu TEXT NOT NULL,
    id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (domain, pu)
);
CREATE INDEX binding_user ON binding (domain, user_id);

CREATE TABLE camera_name (
    domain TEXT NOT NULL,
    binding_id TEXT NOT NULL,
    channel BIGINT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (domain, binding_id, channel)
);

CREATE TABLE play_token (
    domain TEXT NOT NULL,
    hash TEXT NOT NULL,
    jti TEXT NOT NULL,
    session TEXT NOT NULL,
    user_id TEXT NOT NULL,
    sign_in_id TEXT NOT NULL,
    pu TEXT NOT NULL,
    channel BIGINT NOT NULL,
    rights TEXT NOT NULL,
    capabilities TEXT NOT NULL,
    bearer TEXT,
    revoked BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    -- What the PU reports of the session.
    path TEXT,
    started_at BIGINT,
    ended_at BIGINT,
    PRIMARY KEY (domain, hash)
);
CREATE INDEX play_token_session ON play_token (domain, session);
CREATE INDEX play_token_pu ON play_token (domain, pu, user_id);
CREATE INDEX play_token_sign_in ON play_token (domain, sign_in_id);

CREATE TABLE audit (
    domain TEXT NOT NULL,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    user_id TEXT,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (domain, id)
);
CREATE INDEX audit_at ON audit (domain, at);

-- Public halves of the keys that CMUs of this domain sign with.
CREATE TABLE signing_key (
    domain TEXT NOT NULL,
    kid TEXT NOT NULL,
    public_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (domain, kid)
);
