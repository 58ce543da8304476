"""Upkeep of the ledger beside recording: abandoned journals are told to it, and it is kept whole and true."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from budgets.client import SyncClient
from budgets.healer import HealerCounters
from budgets.scripts import run_script
from gateway.healing import Healing
from gateway.replay import replay_abandoned

REPLAY_EVERY_MS = 1_000


class Upkeep:
    """What a recorder does between two batches. `journals`: the folder in which workers keep theirs."""

    def __init__(
        self,
        redis: SyncClient,
        healing: Healing,
        journals: Path,
        observe: Callable[[HealerCounters], None] = lambda counters: None,
    ) -> None:
        self._run = partial(run_script, redis)
        self._healing = healing
        self._journals = journals
        self._observe = observe
        self._replay_at_ms = 0

    def pass_once(self, monotonic_ms: int) -> None:
        """Do what can be done now. Raises redis.RedisError, StoreUnavailable; the next pass goes on.

        Journals first: what they tell is in the outbox then, where making the ledger whole counts it.
        """
        if monotonic_ms >= self._replay_at_ms:
            self._replay_at_ms = monotonic_ms + REPLAY_EVERY_MS
            replay_abandoned(self._journals, self._run, time.time_ns() // 1_000_000)
        try:
            self._healing.pass_once(monotonic_ms)
        finally:
            self._observe(self._healing.counters)

    def close(self) -> None:
        """Close what healing has open."""
        self._healing.close()
