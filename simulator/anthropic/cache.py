"""Anthropic's prompt cache: prefixes that the request marked, for five minutes or an hour.

A prompt is read from the cache up to the end of the longest prefix that is there: at a mark, or at one of
the 20 blocks before it. What lies between that and the last mark is written: up to the last mark of an hour
for an hour, the rest for five minutes. A read keeps what it read for as long again. Too short prompts are
never cached.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from simulator.anthropic.prompt import Blocks

LOOKBACK = 20
FIVE_MINUTES_S = 300.0
HOUR_S = 3_600.0
REMEMBERED = 100_000


@dataclass(frozen=True, slots=True)
class Cached:
    """Input tokens read from the cache, and written to it for five minutes and for an hour."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0


class MarkedCache:
    """Remembers prefixes by digest, each with its end and how long it is kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def lookup(self, blocks: Blocks, owner: str, least: int, now: float | None = None) -> Cached:
        """What of the prompt `owner` (credential and model) has cached, and caches with this call.

        `least` is the shortest prompt in tokens that is cached, `now` seconds of a steady clock.
        """
        now = time.monotonic() if now is None else now
        marks = [mark for mark in blocks.marks if blocks.ends[mark.block][1] >= least]
        if not marks:
            return Cached()
        keys = _keys(blocks, owner, marks[-1].block)
        hit = self._hit(blocks, keys, [mark.block for mark in marks], now)
        read = 0 if hit is None else blocks.ends[hit][1]
        for mark in marks:
            self._keep(keys[mark.block], HOUR_S if mark.hour else FIVE_MINUTES_S, now)
        hours = [blocks.ends[mark.block][1] for mark in marks if mark.hour]
        hour_end = max([read, *hours])
        return Cached(
            read=read,
            written_1h=hour_end - read,
            written_5m=max(0, blocks.ends[marks[-1].block][1] - hour_end),
        )

    def _hit(self, blocks: Blocks, keys: list[bytes], marked: list[int], now: float) -> int | None:
        """The last block of the longest prefix that is kept; it is kept on."""
        for block in reversed(marked):
            for near in range(block, max(-1, block - LOOKBACK), -1):
                until, kept_s = self._kept.get(keys[near], (0.0, 0.0))
                if until > now:
                    self._keep(keys[near], kept_s, now)
                    return near
        return None

    def _keep(self, key: bytes, kept_s: float, now: float) -> None:
        _, known_s = self._kept.get(key, (0.0, 0.0))
        if self._kept.get(key, (0.0, 0.0))[0] > now:
            kept_s = max(kept_s, known_s)
        self._kept[key] = now + kept_s, kept_s
        self._kept.move_to_end(key)
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)


def _keys(blocks: Blocks, owner: str, last: int) -> list[bytes]:
    """A digest of the prompt up to the end of each block, through `last`."""
    digest = blake2b(owner.encode(), digest_size=16)
    keys: list[bytes] = []
    at = 0
    for segments, _ in blocks.ends[: last + 1]:
        for fixed, label, text in blocks.prompt.segments[at:segments]:
            digest.update(f"\x1e{fixed}\x1f{label}\x1f{text}".encode())
        at = segments
        keys.append(digest.digest())
    return keys
