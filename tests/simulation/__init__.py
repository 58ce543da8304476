"""A deterministic simulation of the ledger: virtual time, the real scripts and classes, faults drawn by seed.

Everything that decides about money is the product's own code: its Lua scripts run in a Lua 5.1 beside an
in-memory Redis, its connection, ledger, reaper and seeding run unchanged. What they stand on is simulated:
clock, network, server, provider, and the processes themselves, which crash, freeze and come back. One seed
decides all of it, so a seed that fails does so again, event by event.

`python -m tests.simulation --seeds 0:1000` runs seeds; `--seed N -v` tells one of them as a story.
"""
