"""The recorder: what takes settled events out of the outbox and files each of them exactly once.

`process` is the program, `recording` its loop, `outbox` the consumer group over the shards, `storage` the
event store behind it, `filing` the transaction that files a batch. `water`, `spill`, `segment` and `spilled`
are what happens while the event store is away: the oldest events go to files, and come back from them.
"""
