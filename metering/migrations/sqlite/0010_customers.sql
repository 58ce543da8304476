-- What is known of customers beside their names and plans, and the workspaces inside of them. Moments are
-- milliseconds since the epoch (UTC).

CREATE TABLE customer_profiles (
    account_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    email TEXT NOT NULL,                -- '' where it is not known, as in the columns below
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    phone TEXT NOT NULL,
    address TEXT NOT NULL,
    stripe_id TEXT NOT NULL,
    internal INTEGER NOT NULL CHECK (internal IN (0, 1)),  -- 1: the operator's own use; lists can leave it out
    archived_ms INTEGER,                -- NULL: lists show it
    PRIMARY KEY (account_id, customer),
    FOREIGN KEY (account_id, customer) REFERENCES customers (account_id, customer)
) STRICT, WITHOUT ROWID;

CREATE TABLE workspaces (
    account_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    workspace TEXT NOT NULL,
    name TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    archived_ms INTEGER,
    PRIMARY KEY (account_id, customer, workspace),
    FOREIGN KEY (account_id, customer) REFERENCES customers (account_id, customer)
) STRICT, WITHOUT ROWID;
