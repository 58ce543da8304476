-- As SQLite's 0011, whose comments say more.

ALTER TABLE subscriptions ADD COLUMN grace_days BIGINT NOT NULL DEFAULT 3 CHECK (grace_days BETWEEN 0 AND 366);
ALTER TABLE subscriptions ADD COLUMN payment_method TEXT COLLATE "C" NOT NULL DEFAULT '';
