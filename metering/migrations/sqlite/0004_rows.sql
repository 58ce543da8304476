-- What the ledger's rows are summed by, and later knowledge of costs. Moments are milliseconds since the epoch
-- (UTC), amounts nano-USD. An absent name is the empty string.

ALTER TABLE events ADD COLUMN workspace TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN plan TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN trace_id TEXT NOT NULL DEFAULT '';

-- What the documents of older events say and their columns did not. From here on `route` is the alias that
-- served the request (route_final), and cost_nano of an event whose whole cost is not known is the known part.
CREATE TEMP TABLE told AS
SELECT seq,
       coalesce(json_extract(document, '$.workspace'), '') AS workspace,
       coalesce(json_extract(document, '$.plan'), '') AS plan,
       coalesce(json_extract(document, '$.trace_id'), '') AS trace_id,
       coalesce(json_extract(document, '$.route_final'), '') AS route,
       CASE unpriced WHEN 0 THEN cost_nano ELSE coalesce(
           (SELECT sum(json_extract(value, '$.cost_nano')) FROM json_each(document, '$.attempts')), 0)
       END AS cost_nano
FROM events
WHERE json_valid(document);

CREATE TEMP TABLE changed AS
SELECT told.*
FROM told JOIN events USING (seq)
WHERE told.workspace <> '' OR told.plan <> '' OR told.trace_id <> ''
   OR told.route <> events.route OR told.cost_nano <> events.cost_nano;

-- The rollups of what changes are corrected by the difference; a move to another route is made anew.
CREATE TEMP TABLE parts AS
SELECT events.account_id, events.started_ms, events.customer, events.feature, events.key_id,
       events.provider, events.model, events.route,
       changed.cost_nano - events.cost_nano AS more_nano,
       changed.route <> events.route AS moved
FROM changed JOIN events USING (seq)
WHERE changed.cost_nano <> events.cost_nano OR changed.route <> events.route;

UPDATE costs_by_customer_day AS kept SET cost_nano = kept.cost_nano + part.more_nano
FROM (
    SELECT account_id, started_ms - started_ms % 86400000 AS bucket_ms, customer, feature,
           sum(more_nano) AS more_nano
    FROM parts GROUP BY 1, 2, 3, 4
) AS part
WHERE (kept.account_id, kept.bucket_ms, kept.customer, kept.feature)
    = (part.account_id, part.bucket_ms, part.customer, part.feature);

UPDATE costs_by_customer_hour AS kept SET cost_nano = kept.cost_nano + part.more_nano
FROM (
    SELECT account_id, started_ms - started_ms % 3600000 AS bucket_ms, customer, feature,
           sum(more_nano) AS more_nano
    FROM parts GROUP BY 1, 2, 3, 4
) AS part
WHERE (kept.account_id, kept.bucket_ms, kept.customer, kept.feature)
    = (part.account_id, part.bucket_ms, part.customer, part.feature);

UPDATE costs_by_key_hour AS kept SET cost_nano = kept.cost_nano + part.more_nano
FROM (
    SELECT account_id, started_ms - started_ms % 3600000 AS bucket_ms, key_id, sum(more_nano) AS more_nano
    FROM parts GROUP BY 1, 2, 3
) AS part
WHERE (kept.account_id, kept.key_id, kept.bucket_ms) = (part.account_id, part.key_id, part.bucket_ms);

UPDATE costs_by_model_hour AS kept SET cost_nano = kept.cost_nano + part.more_nano
FROM (
    SELECT account_id, started_ms - started_ms % 3600000 AS bucket_ms, provider, model, route,
           sum(more_nano) AS more_nano
    FROM parts GROUP BY 1, 2, 3, 4, 5
) AS part
WHERE (kept.account_id, kept.bucket_ms, kept.provider, kept.model, kept.route)
    = (part.account_id, part.bucket_ms, part.provider, part.model, part.route);

UPDATE events
SET workspace = changed.workspace, plan = changed.plan, trace_id = changed.trace_id, route = changed.route,
    cost_nano = changed.cost_nano
FROM changed
WHERE events.seq = changed.seq;

DELETE FROM costs_by_model_hour WHERE EXISTS (SELECT 1 FROM parts WHERE moved);

INSERT INTO costs_by_model_hour
SELECT account_id, started_ms - started_ms % 3600000 AS bucket_ms, provider, model, route,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(cost_nano), sum(wasted_nano), sum(unpriced),
       sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known)
FROM events
WHERE EXISTS (SELECT 1 FROM parts WHERE moved)
GROUP BY 1, 2, 3, 4, 5;

DROP TABLE parts;
DROP TABLE changed;
DROP TABLE told;

-- The narrow twin of `events`: a span of time is summed by any names without touching the rows, which are 2 KB.
-- New entries land at its end.
DROP INDEX events_by_start;
CREATE INDEX events_by_start ON events (
    account_id, started_ms, key_id, customer, workspace, feature, plan, trace_id, route,
    cost_nano, doubted_nano, input_tokens, output_tokens
);

-- Features and plans are few: the account's, a feature's or a plan's days are a handful of rows.
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
    cost_nano INTEGER NOT NULL,
    wasted_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    revenue_nano INTEGER NOT NULL,
    revenue_known INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket_ms, feature, plan)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_feature_day
SELECT account_id, started_ms - started_ms % 86400000 AS bucket_ms, feature, plan,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(cost_nano), sum(wasted_nano), sum(unpriced),
       sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known)
FROM events GROUP BY 1, 2, 3, 4;

-- Only of events that name a workspace: installations without workspaces pay nothing for it.
CREATE TABLE costs_by_workspace_day (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
    workspace TEXT NOT NULL,
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
    PRIMARY KEY (account_id, bucket_ms, customer, workspace)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_workspace_day
SELECT account_id, started_ms - started_ms % 86400000 AS bucket_ms, customer, workspace,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(cost_nano), sum(wasted_nano), sum(unpriced),
       sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known)
FROM events WHERE workspace <> '' GROUP BY 1, 2, 3, 4;

-- What became known of an event's cost after it was closed: amounts to add. The event's document stays as it
-- was; its summed columns and the rollups hold the corrected figures.
CREATE TABLE adjustments (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    event_id TEXT NOT NULL,
    account_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    source TEXT NOT NULL,
    cost_nano INTEGER NOT NULL,
    doubted_nano INTEGER NOT NULL,
    unknown_nano INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,          -- -1: the event's cost was not known and is from here on
    pending INTEGER NOT NULL CHECK (pending IN (0, 1)),  -- 1: its event is not here yet
    document TEXT NOT NULL
) STRICT;

CREATE INDEX adjustments_by_event ON adjustments (event_id);
CREATE INDEX adjustments_pending ON adjustments (event_id, account_id) WHERE pending = 1;

-- A soft or hard limit crossed one of its thresholds. The id is the shard's and the entry's of the ledger's
-- stream, so that what is read twice is kept once.
CREATE TABLE limit_notices (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account_id TEXT NOT NULL,
    limit_id TEXT NOT NULL,
    row TEXT NOT NULL,                  -- which of the limit's rows: its id, or <its id>:<scope key>
    percent INTEGER NOT NULL,
    spent INTEGER NOT NULL,             -- nano-USD or a count, as the limit's kind says
    value INTEGER NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX limit_notices_by_moment ON limit_notices (account_id, at_ms, seq);
