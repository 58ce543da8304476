-- What applications report after the fact. Moments are milliseconds since the epoch (UTC).

-- A key belongs to the first report that brings it; it is stored in the transaction that stores the event.
CREATE TABLE ingested (
    account_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    payload_hash TEXT NOT NULL,         -- SHA-256 of what was reported, whatever its spelling
    event_id TEXT NOT NULL,
    PRIMARY KEY (account_id, idempotency_key)
) STRICT, WITHOUT ROWID;

-- By which keys go when their events do.
CREATE INDEX ingested_by_event ON ingested (event_id);

-- Answers to requests with an `Idempotency-Key`, kept for a day.
CREATE TABLE replies (
    account_id TEXT NOT NULL,
    idempotency_key TEXT NOT NULL,
    payload_hash TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (account_id, idempotency_key)
) STRICT;

CREATE INDEX replies_by_age ON replies (at_ms);

-- Stored events that the rows of limits do not count yet: the link between this record and the ledger. An
-- entry comes with its events and goes when the ledger's outbox tells that it was counted.
CREATE TABLE uncounted (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL,
    document TEXT NOT NULL              -- what counts where, as JSON
) STRICT;

-- Who recorded them: manual, or event_auto_created with the first event that named them.
ALTER TABLE customers ADD COLUMN source TEXT NOT NULL DEFAULT 'manual';
ALTER TABLE features ADD COLUMN source TEXT NOT NULL DEFAULT 'manual';
