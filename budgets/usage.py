"""Limits with what is spent, reserved and doubted on them, for people to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from budgets.limit import LimitTerms
from budgets.names import names_of
from budgets.window import Window, window_at


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """One limit in its current window. `value_nano` is the value in force, read from the ledger's row.

    `published` False: the ledger does not know the limit, and the figures say nothing.
    """

    limit: LimitTerms
    window: Window
    value_nano: int
    spent_nano: int
    reserved_nano: int
    doubted_nano: int
    published: bool

    @property
    def remaining_nano(self) -> int:
        """What may still be held; negative after an overrun or a lowered limit."""
        return self.value_nano - self.spent_nano - self.reserved_nano - self.doubted_nano


def read_usage(redis: Redis, account_id: str, limits: Sequence[LimitTerms]) -> list[LimitUsage]:
    """The counters of each limit's window that holds now by Redis' clock, in the order given.

    Raises redis.RedisError.
    """
    client: Any = redis
    names = names_of(account_id)
    seconds, micros = client.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    windows = [window_at(limit.window, now_ms) for limit in limits]
    pipeline = client.pipeline(transaction=False)
    for limit, window in zip(limits, windows, strict=True):
        pipeline.hget(names.limit + limit.id, "value")
        pipeline.hmget(f"{names.limit}{limit.id}:{window.id}", "spent", "reserved", "doubted")
    replies = pipeline.execute()
    usages = []
    for limit, window, value, counters in zip(limits, windows, replies[::2], replies[1::2], strict=True):
        spent, reserved, doubted = (int(counter or 0) for counter in counters)
        published = value is not None
        in_force = int(value) if published else limit.value_nano
        usages.append(LimitUsage(limit, window, in_force, spent, reserved, doubted, published))
    return usages
