"""Who calls: keys, what they may do, and whom they speak for.

A *key* is a secret (`obs_...`) that a client shows. Only its SHA-256 is kept. It has scopes (what it may
do), is perhaps bound to a customer or feature or may assert them, and has limits (what it may spend).

key       the secret and its record (pure)
keyring   the record of keys and their limits in SQL, and its copy where requests are decided
keycache  a worker's bounded copy of the keys it has seen
tables    the SQL tables

Not owned here: the counters of limits and what enforces them (budgets), headers (gateway). Neighbours on
this floor do not know each other, so what keeps the enforced copy is handed in (`keyring.EnforcedCopy`).
"""
