"""How much may be spent: limits and the ledger that holds, settles and frees money.

A *limit* bounds what a scope (today: a key) may spend in a *window* (day, month, lifetime). Its value lives
in a row of the ledger, never in a worker's memory, so changing it is one write that holds for the next
request everywhere. Per window a limit has three counters: `spent`, `reserved` (held by running requests)
and `doubted` (held because a true cost is not known yet).

A *reservation* begins with `open`, which checks everything and then writes everything in one script, and
has exactly one end: `close`, by the worker that opened it or by the reaper when that worker vanished. The
end settles the money and appends the cost event to the shard's outbox in the same step.

names       how the keys in Redis are called, and which shard an account lives on
window      which window holds at a moment (pure)
limit       what a limit is, and the bounds of exact arithmetic (pure)
connection  one pipelined connection to Redis
ledger      open, extend, heartbeat, close, for the workers
reaper      ends reservations whose holder vanished
rows        publishes keys and limits to the ledger
seed        makes an empty or doubtful ledger whole again from what is recorded
usage       reads limits and their counters for people

Not owned here: what a request may cost (gateway), who may call (accounts), where events rest (metering).
"""
