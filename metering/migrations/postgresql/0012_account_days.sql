-- An account's days, summed over all names: what the total of every view is made of. Until now it was summed
-- from the days of all features and plans, of which a long span has thousands.

CREATE TABLE costs_by_account_day (
    account_id TEXT COLLATE "C" NOT NULL,
    bucket_ms BIGINT NOT NULL,
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
    PRIMARY KEY (account_id, bucket_ms)
) WITH (fillfactor = 70);

INSERT INTO costs_by_account_day
SELECT account_id, bucket_ms,
       sum(events), sum(successes), sum(failures), sum(attempts), sum(input_tokens), sum(cached_tokens),
       sum(output_tokens), sum(reasoning_tokens), sum(units), sum(cost_nano), sum(wasted_nano),
       sum(unpriced), sum(unknown_nano), sum(doubted_nano), sum(revenue_nano), sum(revenue_known),
       sum(tasks), sum(task_successes)
FROM costs_by_feature_day GROUP BY 1, 2;
