"""Handles proxied traffic, and is the composition root: the only place where parts are constructed.

A *surface* is a path where clients speak a *dialect*. A request becomes an `Exchange` (what was understood
of it), is accepted when the ledger has opened it, and is then a `Request` until it is settled. `call` is its
way, top to bottom; `app` constructs what it uses; `worker` serves it; `serve` supervises the processes.

Not here: what money, prices and events are (metering), how limits are kept (budgets), which target is whose
(routing), what a key may do (accounts).
"""
