-- Features, plans, customers on them, and what is done about customers that are on none. Moments are
-- milliseconds since the epoch (UTC); documents are JSON.

CREATE TABLE features (
    account_id TEXT NOT NULL,
    feature TEXT NOT NULL,
    name TEXT NOT NULL,                 -- as people call it
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),  -- 0: nobody may use it, whatever their plan says
    PRIMARY KEY (account_id, feature)
) STRICT, WITHOUT ROWID;

CREATE TABLE plans (
    account_id TEXT NOT NULL,
    plan TEXT NOT NULL,
    version INTEGER NOT NULL,           -- the latest one, which new customers get
    archived INTEGER NOT NULL DEFAULT 0 CHECK (archived IN (0, 1)),  -- 1: takes no new customers
    PRIMARY KEY (account_id, plan)
) STRICT, WITHOUT ROWID;

CREATE TABLE plan_versions (
    account_id TEXT NOT NULL,
    plan TEXT NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (account_id, plan, version)
) STRICT;

-- Workers keep a version for ever, and rows of the ledger are made by it.
CREATE TRIGGER plan_versions_do_not_change BEFORE UPDATE ON plan_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of a plan does not change; make a new one');
END;

CREATE TRIGGER plan_versions_stay BEFORE DELETE ON plan_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of a plan stays, because recorded requests name it');
END;

CREATE TABLE customers (
    account_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    PRIMARY KEY (account_id, customer)
) STRICT, WITHOUT ROWID;

-- One row for each span that a customer is on a version of a plan; spans of a customer do not overlap.
CREATE TABLE subscriptions (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    plan TEXT NOT NULL,
    version INTEGER NOT NULL,
    starts_ms INTEGER NOT NULL,
    ends_ms INTEGER,                    -- NULL: until further notice
    anchor INTEGER NOT NULL CHECK (anchor BETWEEN 1 AND 31),  -- its day of the month
    overrides TEXT NOT NULL,            -- what this customer has otherwise than the plan
    created_ms INTEGER NOT NULL,
    CHECK (ends_ms IS NULL OR ends_ms > starts_ms),
    FOREIGN KEY (account_id, customer) REFERENCES customers (account_id, customer),
    FOREIGN KEY (account_id, plan, version) REFERENCES plan_versions (account_id, plan, version)
) STRICT;

CREATE INDEX subscriptions_by_customer ON subscriptions (account_id, customer, starts_ms);
CREATE INDEX subscriptions_by_plan ON subscriptions (account_id, plan, version, anchor);

CREATE TABLE customer_policies (
    account_id TEXT PRIMARY KEY,
    unknown TEXT NOT NULL CHECK (unknown IN ('allow', 'deny', 'default_plan')),
    unnamed TEXT NOT NULL CHECK (unnamed IN ('allow', 'deny')),
    plan TEXT,                          -- whose latest version customers without a plan are on
    CHECK ((unknown = 'default_plan') = (plan IS NOT NULL))
) STRICT;

-- What customers used under each plan: what the ledger's rows of plans are summed by. Only of events that name
-- a plan: installations without plans pay nothing for it.
CREATE TABLE costs_by_plan_day (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
    customer TEXT NOT NULL,
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
    PRIMARY KEY (account_id, bucket_ms, customer, feature, plan)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_plan_day
SELECT account_id, started_ms - started_ms % 86400000 AS bucket_ms, customer, feature, plan,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(cost_nano), sum(wasted_nano), sum(unpriced),
       sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known)
FROM events WHERE plan <> '' GROUP BY 1, 2, 3, 4, 5;
