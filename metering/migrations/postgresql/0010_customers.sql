-- As SQLite's 0010, whose comments say more.

CREATE TABLE customer_profiles (
    account_id TEXT COLLATE "C" NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    email TEXT COLLATE "C" NOT NULL,
    first_name TEXT COLLATE "C" NOT NULL,
    last_name TEXT COLLATE "C" NOT NULL,
    phone TEXT COLLATE "C" NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    stripe_id TEXT COLLATE "C" NOT NULL,
    internal BIGINT NOT NULL CHECK (internal IN (0, 1)),
    archived_ms BIGINT,
    PRIMARY KEY (account_id, customer),
    FOREIGN KEY (account_id, customer) REFERENCES customers (account_id, customer)
);

CREATE TABLE workspaces (
    account_id TEXT COLLATE "C" NOT NULL,
    customer TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    created_ms BIGINT NOT NULL,
    archived_ms BIGINT,
    PRIMARY KEY (account_id, customer, workspace),
    FOREIGN KEY (account_id, customer) REFERENCES customers (account_id, customer)
);
