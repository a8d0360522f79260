-- One recorder, camera and tier. The id, in hexadecimal digits, names the folder of its files.
CREATE TABLE chain (
    chain INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    recorder TEXT NOT NULL,
    camera TEXT NOT NULL,
    tier TEXT NOT NULL,
    UNIQUE (recorder, camera, tier)
) STRICT;

-- Segments without a seam (decision 0090), and what is left of them. Times as stated; the correction
-- is to be added. time_known: somebody vouches for the corrected times.
CREATE TABLE run (
    chain INTEGER NOT NULL REFERENCES chain,
    run INTEGER NOT NULL,
    boot INTEGER NOT NULL,
    start_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    time_known INTEGER NOT NULL,
    correction_us INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (chain, run)
) STRICT, WITHOUT ROWID;

-- Every entry of every chain, in the order of writing (id), as it was signed; what is searched for
-- of segments and gaps beside it. kind: 0 begin, 1 segment, 2 gap, 3 clock step, 4 checkpoint.
-- boot: of gaps whose time a later step of the clock corrects.
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL REFERENCES chain,
    sequence INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    locked INTEGER NOT NULL DEFAULT 0,
    expiring INTEGER NOT NULL DEFAULT 0,
    damaged INTEGER NOT NULL DEFAULT 0,
    event INTEGER NOT NULL DEFAULT 0,
    start_us INTEGER,
    end_us INTEGER,
    run INTEGER,
    file INTEGER,
    bytes INTEGER,
    boot INTEGER,
    correction_us INTEGER,
    encoded BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX entry_by_sequence ON entry (chain, sequence);
CREATE INDEX segment_by_time ON entry (chain, run, start_us) WHERE kind = 1;
CREATE INDEX entry_by_kind ON entry (chain, kind, sequence) WHERE kind <> 1;
CREATE INDEX entry_expiring ON entry (id) WHERE expiring = 1;
CREATE INDEX segment_locked ON entry (chain) WHERE locked = 1;
