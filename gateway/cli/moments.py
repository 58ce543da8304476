"""Moments as people write and read them, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def read_moment(text: str) -> int:
    """`2026-12-31` or `2026-12-31T18:00` (UTC unless it names a zone) as ms since the epoch; ValueError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no date; write such as 2026-12-31 or 2026-12-31T18:00") from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1000


def moment_text(moment_ms: int | None) -> str:
    """`2026-12-31 18:00`; empty for None."""
    return "" if moment_ms is None else f"{datetime.fromtimestamp(moment_ms // 1000, UTC):%Y-%m-%d %H:%M}"
