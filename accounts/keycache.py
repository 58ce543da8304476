"""A worker's copy of the keys it has seen: bounded, and never older than it may be.

A key found is reused without asking as long as every use goes through the ledger, whose `open` answers STALE
when the copy is old; the worker then drops it (`invalidate`) and asks again. Other calls take a copy of at
most five seconds (`find_fresh`). Keys that do not exist are remembered for five seconds, apart, so that
inventing keys cannot push out real ones.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from accounts.key import KeyRecord, digest, document_name

Fetch = Callable[[str], Awaitable[bytes | None]]
"""The name of a key's document -> the document, or None when there is none."""

ENTRIES_MAX = 10_000
FRESH_S = 5.0
ABSENT_S = 5.0


class KeyCache:
    """Keys by secret. `fetch` reads a published document; what it raises goes to the caller. `fresh_s`: how
    old what `find_fresh` gives may be; 0: it is always asked for."""

    def __init__(
        self,
        fetch: Fetch,
        *,
        entries_max: int = ENTRIES_MAX,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._entries_max = entries_max
        self._fresh_s = fresh_s
        self._clock = clock
        self._found: OrderedDict[str, tuple[KeyRecord, float, bytes]] = OrderedDict()
        self._absent: OrderedDict[str, float] = OrderedDict()

    async def find(self, secret: str) -> KeyRecord | None:
        """The key's record, of whatever age: for requests that go on to the ledger's `open`."""
        key_digest = digest(secret)
        entry = self._found.get(key_digest)
        if entry is not None:
            self._found.move_to_end(key_digest)
            return entry[0]
        return await self._ask(key_digest)

    async def find_fresh(self, secret: str) -> KeyRecord | None:
        """The key's record, at most `fresh_s` old, if it can be used: for calls without `open`."""
        key_digest = digest(secret)
        entry = self._found.get(key_digest)
        if entry is not None and self._clock() - entry[1] < self._fresh_s:
            record: KeyRecord | None = entry[0]
        else:
            record = await self._ask(key_digest)
        return record if record is not None and record.usable(time.time_ns() // 1_000_000) else None

    def invalidate(self, secret: str) -> None:
        """Forget the key, whether it was found or not."""
        key_digest = digest(secret)
        self._found.pop(key_digest, None)
        self._absent.pop(key_digest, None)

    async def _ask(self, key_digest: str) -> KeyRecord | None:
        asked = self._clock()
        absent = self._absent.get(key_digest)
        if absent is not None:
            if asked - absent < ABSENT_S:
                return None
            del self._absent[key_digest]
        document = await self._fetch(document_name(key_digest))
        if document is None:
            self._found.pop(key_digest, None)
            self._absent[key_digest] = asked
            _trim(self._absent, self._entries_max)
            return None
        known = self._found.get(key_digest)
        # Nearly always it is the same document as before, which is not read once more.
        same = known if known is not None and known[2] == document else None
        record = KeyRecord.from_document(document) if same is None else same[0]
        # Dated when asked, not when answered: the answer is as old as the question.
        self._found[key_digest] = (record, asked, document)
        self._found.move_to_end(key_digest)
        _trim(self._found, self._entries_max)
        return record


def _trim(entries: OrderedDict[str, Any], entries_max: int) -> None:
    while len(entries) > entries_max:
        entries.popitem(last=False)
