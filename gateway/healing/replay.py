"""Replay: tells the ledger what a journal's former owner could not.

A worker does it for its own slot before it serves; the recorder for slots that nobody owns. Telling the
ledger twice changes nothing, so it does not matter where the first try stopped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import structlog

from budgets.closing import close_call_of
from budgets.hold import Settled
from budgets.journal import SUFFIX, Journal, Kept
from budgets.ledger import Ledger
from budgets.orphan import Orphan, orphan_event
from budgets.scripts import CLOSE, Script
from metering.event import EventError, decode, encode

_log = structlog.get_logger("gateway.healing.replay")


class Scripts(Protocol):
    """Runs a script, whichever server its keys are on. Raises redis.RedisError."""

    def __call__(self, script: Script, keys: list[Any], args: list[Any]) -> Any: ...


def ending(kept: Kept, now_ms: int) -> tuple[Settled, str, bytes]:
    """How a kept request ends: as its close says, or as an orphan's when its worker died before. Pure."""
    lease = kept.lease
    if kept.close is not None:
        return kept.close.settled, kept.close.status, _by_journal(kept.close.event)
    orphan = Orphan.of_lease(lease)
    event, settled = orphan_event(lease.request_id, orphan, now_ms)
    event.closed_by = "journal"
    return settled, event.status, encode(event)


def _by_journal(document: bytes) -> bytes:
    try:
        event = decode(document)
    except EventError:
        return document  # the recorder will say so; it must not be lost here
    event.closed_by = "journal"
    return encode(event)


async def replay_own(journal: Journal, ledger: Ledger, now_ms: int) -> int:
    """Tell the ledger all that this journal keeps, and empty it; how many. Raises LedgerUnavailable."""
    kept = journal.kept()
    for each in kept:
        settled, status, event = ending(each, now_ms)
        await ledger.close(each.lease, settled, status=status, event=event)
    journal.clear()
    _say(journal.path, kept)
    return len(kept)


def replay_abandoned(folder: Path, run: Scripts, now_ms: int) -> int:
    """The same for every journal in the folder that no process owns; how many requests."""
    count = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if not path.stat().st_size:
            continue
        journal = Journal.take(path)
        if journal is None:
            continue
        try:
            kept = journal.kept()
            for each in kept:
                settled, status, event = ending(each, now_ms)
                keys, args = close_call_of(each.lease, settled, status=status, event=event)
                run(CLOSE, keys, args)
            journal.clear()
            _say(path, kept)
            count += len(kept)
        finally:
            journal.close()
    return count


def _say(path: Path, kept: list[Kept]) -> None:
    if kept:
        ended = sum(each.close is not None for each in kept)
        _log.warning("journal_replayed", journal=path.name, closes=ended, orphans=len(kept) - ended)
