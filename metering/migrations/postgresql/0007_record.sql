-- As SQLite's 0007, whose comments say more. No version that could record events on a server came before this
-- one, so there is nothing to move; where there is, nothing is touched.
DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM events) THEN
        RAISE EXCEPTION 'this database holds events of a version that was never published';
    END IF;
END $$;

CREATE TABLE event_documents (
    seq BIGINT PRIMARY KEY,
    document TEXT NOT NULL
);

CREATE TABLE events_of_0007 (
    seq BIGINT PRIMARY KEY,             -- the order of arrival, and of commits; given by who writes
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    account_id TEXT COLLATE "C" NOT NULL,
    started_ms BIGINT NOT NULL CHECK (started_ms >= 0),
    key_id TEXT COLLATE "C" NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    route TEXT COLLATE "C" NOT NULL,    -- the alias that served the request
    status TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,   -- gateway, or who told of it
    task_id TEXT COLLATE "C" NOT NULL,  -- that others are of, too, or that has an outcome; '': alone
    trace_id TEXT COLLATE "C" NOT NULL,
    revenue_source TEXT COLLATE "C" NOT NULL,-- '' where revenue_known is 0
    events BIGINT NOT NULL,             -- 1: the summed columns are named as in the rollups
    successes BIGINT NOT NULL,          -- outcome success
    failures BIGINT NOT NULL,           -- outcome failure; rejected and unknown are neither
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,      -- read from the provider's cache; a part of input_tokens
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,   -- a part of output_tokens
    units BIGINT NOT NULL,              -- what prices per unit count
    cost_nano BIGINT NOT NULL,          -- the known part where unpriced is 1
    wasted_nano BIGINT NOT NULL,        -- cost of attempts that did not produce the answer
    unpriced BIGINT NOT NULL,           -- 1 when the cost is not known
    unknown_nano BIGINT NOT NULL,       -- how much above cost_nano the true cost may be
    doubted_nano BIGINT NOT NULL,       -- what the ledger holds in doubt for it
    revenue_nano BIGINT NOT NULL,       -- 0 where revenue_known is 0
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,              -- 1 where a task counts: at its first event
    task_successes BIGINT NOT NULL      -- 1 where that task is a success
);

DROP TABLE events;
ALTER TABLE events_of_0007 RENAME TO events;
ALTER INDEX events_of_0007_pkey RENAME TO events_pkey;
ALTER INDEX events_of_0007_id_key RENAME TO events_id_key;

-- Pages are in the order of starts, by any names: each index leads along one name and holds what the others are
-- tested by, so that no row is read but of the events shown.
CREATE INDEX events_by_start ON events (account_id, started_ms, seq)
    INCLUDE (customer, feature, model, status, source, key_id);
CREATE INDEX events_by_customer ON events (account_id, customer, started_ms, seq)
    INCLUDE (feature, model, status, source, key_id);
CREATE INDEX events_by_feature ON events (account_id, feature, started_ms, seq)
    INCLUDE (customer, model, status, source, key_id);
CREATE INDEX events_by_model ON events (account_id, model, started_ms, seq)
    INCLUDE (customer, feature, status, source, key_id);
CREATE INDEX events_by_key ON events (account_id, key_id, started_ms, seq)
    INCLUDE (customer, feature, model, status, source);
CREATE INDEX events_by_failure ON events (account_id, status, started_ms, seq)
    INCLUDE (customer, feature, model, source, key_id) WHERE status <> 'succeeded';
CREATE INDEX events_by_source ON events (account_id, source, started_ms, seq)
    INCLUDE (customer, feature, model, status, key_id) WHERE source <> 'gateway';
CREATE INDEX events_by_task ON events (account_id, task_id, started_ms, seq)
    INCLUDE (customer, feature, model, status, source, key_id) WHERE task_id <> '';
CREATE INDEX events_by_trace ON events (account_id, trace_id, started_ms, seq)
    INCLUDE (customer, feature, model, status, source, key_id) WHERE trace_id <> '';

-- Tasks that a client named in its requests, or that were given an outcome. An event that is in none is a task by
-- itself. Names are those of the first event; all of a task follows from its events and its outcomes.
CREATE TABLE tasks (
    account_id TEXT COLLATE "C" NOT NULL,
    task_id TEXT COLLATE "C" NOT NULL,
    first_ms BIGINT NOT NULL,
    first_id TEXT COLLATE "C" NOT NULL, -- '': an outcome was given and no event is here yet
    key_id TEXT COLLATE "C" NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    route TEXT COLLATE "C" NOT NULL,
    last_ms BIGINT NOT NULL,
    last_id TEXT COLLATE "C" NOT NULL,
    last_outcome TEXT COLLATE "C" NOT NULL,-- of its final event
    outcome TEXT COLLATE "C" NOT NULL,  -- what counts: the one given last, else that of the final event
    given_ms BIGINT NOT NULL,
    given_id TEXT COLLATE "C" NOT NULL, -- '': none was given
    reason TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, task_id)
);

CREATE INDEX tasks_by_start ON tasks (account_id, first_ms, task_id);
CREATE INDEX tasks_by_customer ON tasks (account_id, customer, first_ms, task_id);
CREATE INDEX tasks_by_feature ON tasks (account_id, feature, first_ms, task_id);

-- What was said of tasks, as it came. The latest counts.
CREATE TABLE outcomes (
    seq BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    id TEXT COLLATE "C" NOT NULL UNIQUE,
    account_id TEXT COLLATE "C" NOT NULL,
    task_id TEXT COLLATE "C" NOT NULL,
    outcome TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    at_ms BIGINT NOT NULL
);

CREATE INDEX outcomes_by_task ON outcomes (account_id, task_id, at_ms);

-- Until when events have been removed for their age, and the days of which the narrow rows were kept because
-- sums begin inside of them.
CREATE TABLE removals (
    before_ms BIGINT PRIMARY KEY
);

CREATE TABLE kept_days (
    day_ms BIGINT PRIMARY KEY
);

-- Sums by what questions are asked by.
DROP TABLE costs_by_feature_day;
DROP TABLE costs_by_customer_day;
DROP TABLE costs_by_plan_day;
DROP TABLE costs_by_workspace_day;
DROP TABLE costs_by_model_hour;
DROP TABLE costs_by_key_hour;
DROP TABLE costs_by_customer_hour;

-- Few rows: the account's, a feature's and a plan's days.
CREATE TABLE costs_by_feature_day (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, feature, plan)
) WITH (fillfactor = 70);

CREATE TABLE costs_by_route_day (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    route TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, route, model, provider)
) WITH (fillfactor = 70);

-- In the order in which features by models are asked, so that nothing has to be sorted.
CREATE TABLE costs_by_model_day (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, feature, model, provider)
) WITH (fillfactor = 70);

-- All customers of a quarter are read from weeks and the days and hours around them.
CREATE TABLE costs_by_customer_week (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, plan)
) WITH (fillfactor = 70);

CREATE TABLE costs_by_customer_day (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, workspace, plan)
) WITH (fillfactor = 70);

-- Who used what: one customer's days by feature and model lie together within a day.
CREATE TABLE costs_by_use_day (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, feature, model, provider, plan)
) WITH (fillfactor = 70);

CREATE TABLE costs_by_route_hour (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    route TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, route, model, provider)
) WITH (fillfactor = 70);

CREATE TABLE costs_by_model_hour (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, feature, model, provider)
) WITH (fillfactor = 70);

-- A key's hours lie together, because the ledger asks for one key's spending.
CREATE TABLE costs_by_key_hour (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    key_id TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, key_id, bucket_ms)
) WITH (fillfactor = 70);

CREATE TABLE costs_by_customer_hour (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, workspace, plan)
) WITH (fillfactor = 70);

CREATE TABLE costs_by_use_hour (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    feature TEXT COLLATE "C" NOT NULL,
    model TEXT COLLATE "C" NOT NULL,
    provider TEXT COLLATE "C" NOT NULL,
    plan TEXT COLLATE "C" NOT NULL,
    events BIGINT NOT NULL,
    successes BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    units BIGINT NOT NULL,
    cost_nano BIGINT NOT NULL,
    wasted_nano BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    unknown_nano BIGINT NOT NULL,
    doubted_nano BIGINT NOT NULL,
    revenue_nano BIGINT NOT NULL,
    revenue_known BIGINT NOT NULL,
    tasks BIGINT NOT NULL,
    task_successes BIGINT NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, feature, model, provider, plan)
) WITH (fillfactor = 70);
