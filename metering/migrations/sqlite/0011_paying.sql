-- What is agreed of how a subscription is paid. Nobody is paid here: both are kept for whoever bills.

ALTER TABLE subscriptions ADD COLUMN grace_days INTEGER NOT NULL DEFAULT 3 CHECK (grace_days BETWEEN 0 AND 366);
ALTER TABLE subscriptions ADD COLUMN payment_method TEXT NOT NULL DEFAULT '';  -- '': none was named
