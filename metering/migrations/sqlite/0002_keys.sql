-- Keys and their limits: the record. The ledger holds the enforced copy. Moments are milliseconds since the
-- epoch (UTC), amounts nano-USD; lists are JSON arrays of strings.

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    name TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE,        -- SHA-256 of the secret; the secret itself is kept nowhere
    display TEXT NOT NULL,              -- the secret's last four characters
    version INTEGER NOT NULL,           -- grows with every change that a caller's copy must not miss
    status TEXT NOT NULL CHECK (status IN ('active', 'revoked')),
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER,
    revoked_ms INTEGER,
    scopes TEXT NOT NULL,
    customer TEXT,
    feature TEXT,
    assertion TEXT NOT NULL CHECK (assertion IN ('none', 'listed', 'any')),
    customers TEXT NOT NULL,
    features TEXT NOT NULL,
    default_customer TEXT,
    default_feature TEXT,
    on_ledger_down TEXT CHECK (on_ledger_down IN ('closed', 'open')) -- NULL: closed with a limit, else open
) STRICT;

CREATE INDEX keys_by_account ON keys (account_id, created_ms);

CREATE TABLE limits (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    scope_id TEXT NOT NULL,
    window_kind TEXT NOT NULL CHECK (window_kind IN ('day', 'month', 'lifetime')),
    kind TEXT NOT NULL,
    enforcement TEXT NOT NULL CHECK (enforcement IN ('hard', 'soft', 'shadow')),
    value_nano INTEGER NOT NULL CHECK (value_nano BETWEEN 0 AND 9007199254740991),
    version INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,        -- by the ledger's clock where it could be asked; counting begins here
    UNIQUE (account_id, scope, scope_id, kind, window_kind)
) STRICT;
