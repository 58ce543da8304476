"""Bedrock's prompt cache: what is kept is what a request marks, up to its cache points.

A prefix that ends at a cache point and was seen before (same credential, same model) is read; what lies
between it and the last cache point is written. Nothing expires but by number.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import blake2b

from simulator import tokens
from simulator.prompt import Prompt

REMEMBERED = 100_000
TTLS = ("5m", "1h")


@dataclass(frozen=True, slots=True)
class Cached:
    """Input tokens that were read from the cache, and those written to it, by how long they stay."""

    read: int = 0
    written_5m: int = 0
    written_1h: int = 0

    @property
    def written(self) -> int:
        """All that was written."""
        return self.written_5m + self.written_1h


class PointCache:
    """Remembers marked prefixes by digest."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def lookup(self, prompt: Prompt, points: list[tuple[int, str]], owner: str, shortest: int) -> Cached:
        """What of `prompt` is read and written.

        A point is a number of segments before it and how long the prefix stays; prefixes shorter than
        `shortest` tokens are left alone.
        """
        digest = blake2b(owner.encode(), digest_size=16)
        size = at = read = 0
        written = dict.fromkeys(TTLS, 0)
        before = 0
        for upto, ttl in points:
            for fixed, label, text in prompt.segments[at:upto]:
                digest.update(f"{fixed}\x1f{label}\x1f{text}\x1e".encode())
                size += fixed + (tokens.count(text) if text else 0)
            at = upto
            if size < shortest:
                continue
            key = digest.digest()
            if key in self._seen:
                # A longer prefix is known: nothing of what is before it is written.
                read, before, written = size, size, dict.fromkeys(TTLS, 0)
            else:
                written[ttl] += size - before
                before = size
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return Cached(read, written["5m"], written["1h"])
