-- Cost events and the sums derived from them. Moments are milliseconds since the epoch (UTC), amounts
-- nano-USD. An absent name (customer, feature, ...) is the empty string, so that it can be part of a key.

-- One row for each closed request. `seq` is the order of arrival, which is not the order of ids: a long
-- stream arrives after shorter ones begun later. The document is the whole event as JSON, attempts included;
-- the columns beside it are what is searched for and what is summed. (A table with rowids, because rows are
-- 2 KB: in a table WITHOUT ROWID they would spill to overflow pages, or need pages so large that each commit
-- writes several times as much for the scattered rollup rows.)
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL,
    started_ms INTEGER NOT NULL CHECK (started_ms >= 0),
    key_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    feature TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    route TEXT NOT NULL,
    status TEXT NOT NULL,
    events INTEGER NOT NULL,            -- 1: the summed columns are named as in the rollups
    successes INTEGER NOT NULL,         -- outcome success
    failures INTEGER NOT NULL,          -- outcome failure; rejected and unknown are neither
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,     -- read from the provider's cache; a part of input_tokens
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,  -- a part of output_tokens
    cost_nano INTEGER NOT NULL,         -- 0 where unpriced is 1
    wasted_nano INTEGER NOT NULL,       -- cost of attempts that did not produce the answer
    unpriced INTEGER NOT NULL,          -- 1 when the cost is not known
    unknown_nano INTEGER NOT NULL,      -- how much above cost_nano the true cost may be
    doubted_nano INTEGER NOT NULL,      -- what the ledger holds in doubt for it
    revenue_nano INTEGER NOT NULL,      -- 0 where revenue_known is 0
    revenue_known INTEGER NOT NULL,
    document TEXT NOT NULL
) STRICT;

CREATE INDEX events_by_start ON events (account_id, started_ms);
CREATE INDEX events_by_customer ON events (account_id, customer, id);
CREATE INDEX events_by_feature ON events (account_id, feature, id);
CREATE INDEX events_by_key ON events (account_id, key_id, id);

-- Sums by narrow dimensions; bucket_ms is the first moment of the UTC hour or day in which requests began.
-- Maintained in the transaction that inserts the events, so they are equal to sums over `events` at any moment.
CREATE TABLE costs_by_customer_day (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
    feature TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, feature)
) STRICT, WITHOUT ROWID;

CREATE TABLE costs_by_customer_hour (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
    feature TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, feature)
) STRICT, WITHOUT ROWID;

-- Models and keys are few, so their hours are few enough to be summed into days when asked. A key's hours
-- lie together, because the ledger asks for one key's spending.
CREATE TABLE costs_by_model_hour (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    route TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, provider, model, route)
) STRICT, WITHOUT ROWID;

CREATE TABLE costs_by_key_hour (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    PRIMARY KEY (account_id, key_id, bucket_ms)
) STRICT, WITHOUT ROWID;
