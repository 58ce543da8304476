"""How much may be spent: limits and the ledger that holds, settles and frees money.

A *limit* bounds what a scope (an account, key, customer, feature, ...) may spend in a *window* (day, month,
lifetime, ...). Its value lives in the ledger, never in a worker's memory, so changing it is one write that
holds for the next request everywhere. Per window a limit has a *row* of three counters: `spent`, `reserved`
(held by running requests) and `doubted` (held because a true cost is not known yet).

A *reservation* begins with `open`, which checks everything and then writes everything in one script, and
has exactly one end: `close`, by the worker that opened it or by the reaper when that worker vanished. The
end settles the money and appends the cost event to the shard's outbox in the same step.

What is counted, and where (pure)
  limit, window, meter, hold   what a limit is, when it begins anew, how it is named, what is held of it
  names, slots, rowset         names in Redis, shards, and the rows that one request counts on
What requests do
  ledger, scripts              open, extend, heartbeat, restore, close: each one script of lua/
  opening, closing, answers    what the first and the last of these ask, and what is answered
  claims                       requests that may come a second time
  accrual                      values of limits that carry over what was not used
  journal                      ends that the ledger has not acknowledged
What keeps it true
  reaper, orphan               ends reservations whose holder vanished
  healer, seed, movements      make a shard that lost writes whole again, from what is recorded
  tally, counted, holds        what each row should have
  reconcile, drift             compare that with what it has
What people do
  rows, adjusting, usage       publish limits, correct costs, read counters (what these say: limitusage)
How Redis is reached
  connecting                   to whatever stands behind a URL
  connection, wire, greeting   one pipelined connection
  cluster, routed              one for each node of a cluster, and commands that may have to go elsewhere
  keeping                      what both do to be found and found again
  address, primary, seeds      which server to speak to
  client, shardpipeline        the same for code that may wait; running: scripts through it

Not owned here: what a request may cost (gateway), who may call (accounts), where events rest (metering).
"""
