"""Upkeep of the ledger beside recording: abandoned journals are told to it, and it is kept whole and true.

It has a thread and a connection of its own, so that neither a wait of the recorder for entries nor a batch of
them, nor a database that keeps writers waiting, comes between a ledger that lost its memory and its healing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog
from redis.exceptions import RedisError

from budgets.client import SyncClient
from budgets.healer import HealerCounters
from budgets.running import run_script
from gateway.healing.healing import Healing
from gateway.healing.replay import replay_abandoned
from metering.eventstore import StoreUnavailable

EVERY_S = 0.1
REPLAY_EVERY_MS = 1_000
CALM_S = 70.0
"""A database that is in the way is not so at each pass: only after so long without it is all well again."""

_log = structlog.get_logger(component="upkeep")


class Upkeep:
    """What is done beside recording. `journals`: the folder in which workers keep theirs.

    `trouble` names what it waits for (redis_unavailable, database_unavailable), None while all is well.
    """

    def __init__(
        self,
        redis: SyncClient,
        healing: Healing,
        journals: Path,
        observe: Callable[[HealerCounters], None] = lambda counters: None,
    ) -> None:
        self.trouble: str | None = None
        self._run = partial(run_script, redis)
        self._healing = healing
        self._journals = journals
        self._observe = observe
        self._replay_at_ms = 0
        self._calm_at_s = 0.0

    def run(self, stop: threading.Event) -> None:
        """Keep on until `stop` is set; what is away is waited for, and told once."""
        while not stop.is_set():
            now_s = time.monotonic()
            try:
                self.pass_once(int(now_s * 1_000))
            except StoreUnavailable as error:
                self._calm_at_s = now_s + CALM_S
                self._lament("database_unavailable", error)
            except RedisError as error:
                self._lament("redis_unavailable", error)
            else:
                if self.trouble == "redis_unavailable" or (self.trouble and now_s >= self._calm_at_s):
                    _log.info("resumed", after=self.trouble)
                    self.trouble = None
            stop.wait(EVERY_S)

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

    def _lament(self, trouble: str, error: Exception) -> None:
        if self.trouble != trouble:
            self.trouble = trouble
            _log.warning(trouble, reason=str(error))
