-- What customers owe: prices of features, and what a customer pays otherwise than its plan says. What plans
-- cost stands in the documents of their versions. Amounts are nano-USD, prices of one unit pico-USD, moments
-- milliseconds since the epoch (UTC).

-- Only ever added to: the entry in force at a moment is the one with the latest `effective_ms` until then, of
-- several with one moment the last recorded.
CREATE TABLE feature_prices (
    seq INTEGER PRIMARY KEY,            -- order of recording
    account_id TEXT NOT NULL,
    feature TEXT NOT NULL,
    effective_ms INTEGER NOT NULL CHECK (effective_ms >= 0),
    price_pico INTEGER CHECK (price_pico >= 0),  -- of one unit; NULL: the feature has no price from then on
    unit_label TEXT NOT NULL,           -- what people call a unit
    created_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX feature_prices_by_feature ON feature_prices (account_id, feature, effective_ms);

CREATE TRIGGER feature_prices_do_not_change BEFORE UPDATE ON feature_prices
BEGIN
    SELECT RAISE(ABORT, 'a price of a feature does not change; add one with a later beginning');
END;

CREATE TRIGGER feature_prices_stay BEFORE DELETE ON feature_prices
BEGIN
    SELECT RAISE(ABORT, 'a price of a feature stays, because revenue is decided by it');
END;

ALTER TABLE subscriptions ADD COLUMN price_nano INTEGER CHECK (price_nano >= 0);  -- NULL: the plan's
ALTER TABLE subscriptions ADD COLUMN quantity INTEGER NOT NULL DEFAULT 1 CHECK (quantity >= 1);
ALTER TABLE subscriptions ADD COLUMN discount_ppm INTEGER NOT NULL DEFAULT 0
    CHECK (discount_ppm BETWEEN 0 AND 1000000);
-- A month in which a billing period of its begins, counted from January of the year 0.
ALTER TABLE subscriptions ADD COLUMN anchor_month INTEGER NOT NULL DEFAULT 0;

UPDATE subscriptions SET anchor_month = 12 * CAST(strftime('%Y', starts_ms / 1000, 'unixepoch') AS INTEGER)
    + CAST(strftime('%m', starts_ms / 1000, 'unixepoch') AS INTEGER) - 1;

-- How often any of an account's subscriptions was added, changed or taken away: what is kept of them elsewhere
-- is good while this stays.
CREATE TABLE subscription_changes (
    account_id TEXT PRIMARY KEY,
    changes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO subscription_changes SELECT account_id, count(*) FROM subscriptions GROUP BY account_id;

CREATE TRIGGER subscriptions_added AFTER INSERT ON subscriptions
BEGIN
    INSERT INTO subscription_changes VALUES (NEW.account_id, 1)
    ON CONFLICT (account_id) DO UPDATE SET changes = changes + 1;
END;

CREATE TRIGGER subscriptions_changed AFTER UPDATE ON subscriptions
BEGIN
    UPDATE subscription_changes SET changes = changes + 1 WHERE account_id = NEW.account_id;
END;

CREATE TRIGGER subscriptions_taken_away AFTER DELETE ON subscriptions
BEGIN
    UPDATE subscription_changes SET changes = changes + 1 WHERE account_id = OLD.account_id;
END;
