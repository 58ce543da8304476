-- What a key may ask for, where it may be told for whom it calls, and its earlier secrets. Lists are JSON.

ALTER TABLE keys ADD COLUMN routes TEXT NOT NULL DEFAULT '[]';     -- routes or models it may ask for; []: all
ALTER TABLE keys ADD COLUMN models TEXT NOT NULL DEFAULT '[]';     -- models that may serve it; []: all
ALTER TABLE keys ADD COLUMN sources TEXT NOT NULL DEFAULT '[]';    -- of: metadata, baggage
ALTER TABLE keys ADD COLUMN required TEXT NOT NULL DEFAULT '[]';   -- headers without which it is refused

-- Secrets that a rotation replaced, for as long as they still work beside the new one.
CREATE TABLE former_secrets (
    digest TEXT PRIMARY KEY,            -- SHA-256
    key_id TEXT NOT NULL,
    display TEXT NOT NULL,              -- the last four characters
    ends_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX former_secrets_by_key ON former_secrets (key_id);

-- Every proxied path needs proxy.chat; a scope for embeddings alone is not in the list.
UPDATE keys
SET scopes = (SELECT json_group_array(value) FROM json_each(keys.scopes) WHERE value <> 'proxy.embeddings')
WHERE EXISTS (SELECT 1 FROM json_each(keys.scopes) WHERE value = 'proxy.embeddings');
