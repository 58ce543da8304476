"""Healing: a ledger that lost writes, made whole from its journals, its workers' memory and the event store.

`healing` compares and corrects, `upkeep` says when, `replay` closes what a journal holds, and `recent_closes`
is what a worker remembers of its last closes so that it can tell them again.
"""
