-- What events are searched and summed by, tasks and their outcomes, rollups for every question, and retention.
-- Moments are milliseconds since the epoch (UTC), amounts nano-USD. An absent name is the empty string.

-- Documents lie apart: rows of events are then narrow, so that a span of time is read in a tenth of the bytes, and
-- a page reads the documents of its own events alone.
CREATE TABLE event_documents (
    seq INTEGER PRIMARY KEY,
    document TEXT NOT NULL
) STRICT;

INSERT INTO event_documents SELECT seq, document FROM events;

CREATE TABLE new_events (
    seq INTEGER PRIMARY KEY,            -- the order of arrival, and of commits; given by who writes
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL,
    started_ms INTEGER NOT NULL CHECK (started_ms >= 0),
    key_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    workspace TEXT NOT NULL,
    feature TEXT NOT NULL,
    plan TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    route TEXT NOT NULL,                -- the alias that served the request
    status TEXT NOT NULL,
    outcome TEXT NOT NULL,
    source TEXT NOT NULL,               -- gateway, or who told of it
    task_id TEXT NOT NULL,              -- that others are of, too, or that has an outcome; '': alone
    trace_id TEXT NOT NULL,
    revenue_source TEXT NOT NULL,       -- '' where revenue_known is 0
    events INTEGER NOT NULL,            -- 1: the summed columns are named as in the rollups
    successes INTEGER NOT NULL,         -- outcome success
    failures INTEGER NOT NULL,          -- outcome failure; rejected and unknown are neither
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,     -- read from the provider's cache; a part of input_tokens
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,  -- a part of output_tokens
    units INTEGER NOT NULL,             -- what prices per unit count
    cost_nano INTEGER NOT NULL,         -- the known part where unpriced is 1
    wasted_nano INTEGER NOT NULL,       -- cost of attempts that did not produce the answer
    unpriced INTEGER NOT NULL,          -- 1 when the cost is not known
    unknown_nano INTEGER NOT NULL,      -- how much above cost_nano the true cost may be
    doubted_nano INTEGER NOT NULL,      -- what the ledger holds in doubt for it
    revenue_nano INTEGER NOT NULL,      -- 0 where revenue_known is 0
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,             -- 1 where a task counts: at its first event
    task_successes INTEGER NOT NULL     -- 1 where that task is a success
) STRICT;

INSERT INTO new_events
SELECT seq, id, account_id, started_ms, key_id, customer, workspace, feature, plan, provider, model, route, status,
       coalesce(CAST(json_extract(told, '$.outcome') AS TEXT), 'unknown'),
       coalesce(CAST(json_extract(told, '$.source') AS TEXT), 'gateway'),
       coalesce(CAST(json_extract(told, '$.task_id') AS TEXT), ''),
       trace_id,
       CASE revenue_known WHEN 1 THEN 'explicit' ELSE '' END,
       events, successes, failures, attempts, input_tokens, cached_tokens, output_tokens, reasoning_tokens,
       CASE
           WHEN json_extract(told, '$.usage_units') IS NOT NULL
               THEN max(0, CAST(json_extract(told, '$.usage_units') AS INTEGER))
           WHEN status = 'failed' THEN 0
           WHEN input_tokens + output_tokens <> 0 THEN input_tokens + output_tokens
           ELSE 1
       END,
       cost_nano, wasted_nano, unpriced, unknown_nano, doubted_nano, revenue_nano, revenue_known,
       1, successes
FROM (SELECT *, CASE WHEN json_valid(document) THEN document ELSE '{}' END AS told FROM events);

DROP TABLE events;
ALTER TABLE new_events RENAME TO events;

-- Pages are in the order of starts, by any names: each index leads along one name and holds what the others are
-- tested by, so that no row is read but of the events shown.
CREATE INDEX events_by_start ON events (
    account_id, started_ms, seq, customer, feature, model, status, source, key_id
);
CREATE INDEX events_by_customer ON events (
    account_id, customer, started_ms, seq, feature, model, status, source, key_id
);
CREATE INDEX events_by_feature ON events (
    account_id, feature, started_ms, seq, customer, model, status, source, key_id
);
CREATE INDEX events_by_model ON events (
    account_id, model, started_ms, seq, customer, feature, status, source, key_id
);
CREATE INDEX events_by_key ON events (
    account_id, key_id, started_ms, seq, customer, feature, model, status, source
);
CREATE INDEX events_by_failure ON events (
    account_id, status, started_ms, seq, customer, feature, model, source, key_id
) WHERE status <> 'succeeded';
CREATE INDEX events_by_source ON events (
    account_id, source, started_ms, seq, customer, feature, model, status, key_id
) WHERE source <> 'gateway';
CREATE INDEX events_by_task ON events (
    account_id, task_id, started_ms, seq, customer, feature, model, status, source, key_id
) WHERE task_id <> '';
CREATE INDEX events_by_trace ON events (
    account_id, trace_id, started_ms, seq, customer, feature, model, status, source, key_id
) WHERE trace_id <> '';

-- Tasks that a client named in its requests, or that were given an outcome. An event that is in none is a task by
-- itself. Names are those of the first event; all of a task follows from its events and its outcomes.
CREATE TABLE tasks (
    account_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    first_ms INTEGER NOT NULL,
    first_id TEXT NOT NULL,             -- '': an outcome was given and no event is here yet
    key_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    workspace TEXT NOT NULL,
    feature TEXT NOT NULL,
    plan TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    route TEXT NOT NULL,
    last_ms INTEGER NOT NULL,
    last_id TEXT NOT NULL,
    last_outcome TEXT NOT NULL,         -- of its final event
    outcome TEXT NOT NULL,              -- what counts: the one given last, else that of the final event
    given_ms INTEGER NOT NULL,
    given_id TEXT NOT NULL,             -- '': none was given
    reason TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, task_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX tasks_by_start ON tasks (account_id, first_ms, task_id);
CREATE INDEX tasks_by_customer ON tasks (account_id, customer, first_ms, task_id);
CREATE INDEX tasks_by_feature ON tasks (account_id, feature, first_ms, task_id);

-- What was said of tasks, as it came. The latest counts.
CREATE TABLE outcomes (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX outcomes_by_task ON outcomes (account_id, task_id, at_ms);

-- Until when events have been removed for their age, and the days of which the narrow rows were kept because
-- sums begin inside of them.
CREATE TABLE removals (
    before_ms INTEGER PRIMARY KEY
) STRICT;

CREATE TABLE kept_days (
    day_ms INTEGER PRIMARY KEY
) STRICT;

-- Tasks of what is recorded. Who is named as a task by others is a member of it, too.
UPDATE events SET task_id = id
WHERE task_id = '' AND id IN (SELECT task_id FROM events WHERE task_id <> '')
  AND EXISTS (
      SELECT 1 FROM events AS others
      WHERE others.account_id = events.account_id AND others.task_id = events.id AND others.task_id <> ''
  );

INSERT INTO tasks
SELECT account_id, task_id, max(started_ms) FILTER (WHERE early = 1), max(id) FILTER (WHERE early = 1),
       max(key_id) FILTER (WHERE early = 1), max(customer) FILTER (WHERE early = 1), max(workspace)
       FILTER (WHERE early = 1), max(feature) FILTER (WHERE early = 1), max(plan) FILTER (WHERE early =
       1), max(provider) FILTER (WHERE early = 1), max(model) FILTER (WHERE early = 1), max(route) FILTER
       (WHERE early = 1),
       max(started_ms) FILTER (WHERE late = 1), max(id) FILTER (WHERE late = 1),
       max(outcome) FILTER (WHERE late = 1), max(outcome) FILTER (WHERE late = 1), 0, '', '',
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       1, max(outcome = 'success') FILTER (WHERE late = 1)
FROM (
    SELECT *,
           row_number() OVER (PARTITION BY account_id, task_id ORDER BY started_ms, id) AS early,
           row_number() OVER (PARTITION BY account_id, task_id ORDER BY started_ms DESC, id DESC) AS late
    FROM events WHERE task_id <> ''
)
GROUP BY account_id, task_id;

UPDATE events SET tasks = 0, task_successes = 0 WHERE task_id <> '';

UPDATE events SET tasks = 1, task_successes = tasks.task_successes
FROM tasks
WHERE events.account_id = tasks.account_id AND events.id = tasks.first_id;

-- Sums by what questions are asked by; bucket_ms is the first moment of the UTC hour or day, or of the seven days
-- (counted from the epoch), in which requests began.
DROP TABLE costs_by_feature_day;
DROP TABLE costs_by_customer_day;
DROP TABLE costs_by_plan_day;
DROP TABLE costs_by_workspace_day;
DROP TABLE costs_by_model_hour;
DROP TABLE costs_by_key_hour;
DROP TABLE costs_by_customer_hour;

-- Few rows: the account's, a feature's and a plan's days.
CREATE TABLE costs_by_feature_day (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    feature TEXT NOT NULL,
    plan TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, feature, plan)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_feature_day
SELECT account_id, started_ms - started_ms % 86400000 AS bucket_ms, feature, plan,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4;

CREATE TABLE costs_by_route_day (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    route TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, route, model, provider)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_route_day
SELECT account_id, started_ms - started_ms % 86400000 AS bucket_ms, route, model, provider,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4, 5;

-- In the order in which features by models are asked, so that nothing has to be sorted.
CREATE TABLE costs_by_model_day (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    feature TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, feature, model, provider)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_model_day
SELECT account_id, started_ms - started_ms % 86400000 AS bucket_ms, feature, model, provider,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4, 5;

-- All customers of a quarter are read from weeks and the days and hours around them.
CREATE TABLE costs_by_customer_week (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
    plan TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, plan)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_customer_week
SELECT account_id, started_ms - started_ms % 604800000 AS bucket_ms, customer, plan,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4;

CREATE TABLE costs_by_customer_day (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
    workspace TEXT NOT NULL,
    plan TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, workspace, plan)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_customer_day
SELECT account_id, started_ms - started_ms % 86400000 AS bucket_ms, customer, workspace, plan,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4, 5;

-- Who used what: one customer's days by feature and model lie together within a day.
CREATE TABLE costs_by_use_day (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
    feature TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    plan TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, feature, model, provider, plan)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_use_day
SELECT account_id, started_ms - started_ms % 86400000 AS bucket_ms, customer, feature, model, provider, plan,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4, 5, 6, 7;

CREATE TABLE costs_by_route_hour (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    route TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, route, model, provider)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_route_hour
SELECT account_id, started_ms - started_ms % 3600000 AS bucket_ms, route, model, provider,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4, 5;

CREATE TABLE costs_by_model_hour (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    feature TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, feature, model, provider)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_model_hour
SELECT account_id, started_ms - started_ms % 3600000 AS bucket_ms, feature, model, provider,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4, 5;

-- A key's hours lie together, because the ledger asks for one key's spending.
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
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, key_id, bucket_ms)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_key_hour
SELECT account_id, started_ms - started_ms % 3600000 AS bucket_ms, key_id,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3;

CREATE TABLE costs_by_customer_hour (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
    workspace TEXT NOT NULL,
    plan TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, workspace, plan)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_customer_hour
SELECT account_id, started_ms - started_ms % 3600000 AS bucket_ms, customer, workspace, plan,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4, 5;

CREATE TABLE costs_by_use_hour (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
    feature TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    plan TEXT NOT NULL,
    events INTEGER NOT NULL,
    successes INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    units INTEGER NOT NULL,
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    task_successes INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, customer, feature, model, provider, plan)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_use_hour
SELECT account_id, started_ms - started_ms % 3600000 AS bucket_ms, customer, feature, model, provider, plan,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM events GROUP BY 1, 2, 3, 4, 5, 6, 7;
