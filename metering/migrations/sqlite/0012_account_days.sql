-- An account's days, summed over all names: what the total of every view is made of. Until now it was summed
-- from the days of all features and plans, of which a long span has thousands.

CREATE TABLE costs_by_account_day (
    account_id TEXT NOT NULL,
    bucket_ms INTEGER NOT NULL,
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
    PRIMARY KEY (account_id, bucket_ms)
) STRICT, WITHOUT ROWID;

INSERT INTO costs_by_account_day
SELECT account_id, bucket_ms,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM costs_by_feature_day GROUP BY 1, 2;
