"""Who calls: keys, what they may do, and whom they speak for.

A *key* is a secret (`obs_...`) that a client shows. Only its SHA-256 is kept. It has scopes (what it may
do), is perhaps bound to a customer or feature or may assert them, and has limits (what it may spend).

key         the secret and its record, a limit as recorded (pure)
terms       lists of limits as published, and which limit stands in which (pure)
keyring     the record of keys in SQL
limitbook   the record of limits of every scope in SQL
publishing  copies both to where requests are decided
keycache    a worker's bounded copy of the keys it has seen
termscache  a worker's bounded copy of lists of limits
feature, plan, subscription, customer, policy
            what plans grant and limit, and who is on which (pure)
planprice, featureprices
            what plans and features cost customers (pure)
entitlement whether a customer may use a feature, and within which limits (pure)
planbook    the record of features, plans and the policy in SQL
customerbook
            the record of customers and their subscriptions in SQL
plantables  the SQL tables of these
tables      the SQL tables

Not owned here: the counters of limits and what enforces them (budgets), headers (gateway). Neighbours on
this floor do not know each other, so what keeps the enforced copy is handed in (`publishing.EnforcedCopy`).
"""
