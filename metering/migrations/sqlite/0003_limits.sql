-- Limits of every scope, kind and window, and what a key does while the ledger is away.

CREATE TABLE keys_new (
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
    -- NULL: closed with a limit, else open.
    on_ledger_down TEXT CHECK (on_ledger_down IN ('closed', 'open', 'allowance')),
    allowance_nano INTEGER NOT NULL DEFAULT 0 CHECK (allowance_nano BETWEEN 0 AND 9007199254740991),
    CHECK ((COALESCE(on_ledger_down, '') = 'allowance') = (allowance_nano > 0))
) STRICT;

INSERT INTO keys_new (
    id, account_id, name, digest, display, version, status, created_ms, expires_ms, revoked_ms, scopes,
    customer, feature, assertion, customers, features, default_customer, default_feature, on_ledger_down
)
SELECT
    id, account_id, name, digest, display, version, status, created_ms, expires_ms, revoked_ms, scopes,
    customer, feature, assertion, customers, features, default_customer, default_feature, on_ledger_down
FROM keys;

DROP TABLE keys;
ALTER TABLE keys_new RENAME TO keys;
CREATE INDEX keys_by_account ON keys (account_id, created_ms);

CREATE TABLE limits_new (
    id TEXT PRIMARY KEY,
    account_id TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN (
        'account', 'key', 'customer', 'workspace', 'feature', 'customer_feature', 'plan', 'trace', 'route'
    )),
    scope_id TEXT NOT NULL,             -- '*' is each; parts of workspace, customer_feature with U+001F between
    kind TEXT NOT NULL CHECK (kind IN (
        'money', 'requests', 'tokens', 'input_tokens', 'output_tokens',
        'requests_per_minute', 'tokens_per_minute', 'concurrency'
    )),
    window_kind TEXT NOT NULL CHECK (window_kind IN ('day', 'week', 'month', 'lifetime', 'minute', 'now')),
    time_zone TEXT NOT NULL,            -- IANA name
    anchor INTEGER NOT NULL CHECK (anchor BETWEEN 1 AND 31), -- first day of a month, or of a week (1 is Monday)
    enforcement TEXT NOT NULL CHECK (enforcement IN ('hard', 'soft', 'shadow')),
    value INTEGER NOT NULL CHECK (value BETWEEN 0 AND 9007199254740991), -- nano-USD for money, else a count
    thresholds TEXT NOT NULL,           -- JSON array of rising percents
    version INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,        -- by the ledger's clock where it could be asked; counting begins here
    holder TEXT NOT NULL CHECK (holder IN ('account', 'customer', 'key')), -- in whose document it is published
    holder_id TEXT NOT NULL,
    UNIQUE (account_id, scope, scope_id, kind, window_kind),
    CHECK (CASE
        WHEN kind IN ('requests_per_minute', 'tokens_per_minute') THEN window_kind = 'minute' AND value > 0
        WHEN kind = 'concurrency' THEN window_kind = 'now'
        WHEN scope = 'trace' THEN window_kind = 'lifetime'
        ELSE window_kind IN ('day', 'week', 'month', 'lifetime')
    END),
    CHECK (scope <> 'account' OR scope_id = account_id),
    CHECK (anchor = 1 OR window_kind = 'month' OR (window_kind = 'week' AND anchor <= 7)),
    CHECK (time_zone = 'UTC' OR window_kind IN ('day', 'week', 'month')),
    CHECK (thresholds = '[]' OR window_kind NOT IN ('minute', 'now'))
) STRICT;

INSERT INTO limits_new
SELECT
    id, account_id, scope, scope_id, kind, window_kind, 'UTC', 1, enforcement, value_nano, '[]', version,
    created_ms, 'key', scope_id
FROM limits;

DROP TABLE limits;
ALTER TABLE limits_new RENAME TO limits;
CREATE INDEX limits_by_holder ON limits (account_id, holder, holder_id);

-- Versions of published lists of limits. They only grow, also when the last limit of a list is gone: a copy
-- of an earlier list must never look like the one in force.
CREATE TABLE account_terms (
    account_id TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT;

CREATE TABLE customer_terms (
    account_id TEXT NOT NULL,
    customer TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (account_id, customer)
) STRICT, WITHOUT ROWID;
