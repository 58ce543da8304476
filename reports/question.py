"""What a report is asked: by which dimensions, over which span of time. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from metering.rollup import DIMENSIONS

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_AGO = re.compile(r"([0-9]{1,6})([mhdw])")


class QuestionError(ValueError):
    """The question cannot be understood; the text says what would be right."""


@dataclass(frozen=True, slots=True)
class Question:
    """Cost by `dimensions` (none: the total alone) of requests begun in [since_ms, until_ms).

    `until_ms` None is open: up to the newest event.
    """

    dimensions: tuple[str, ...]
    since_ms: int
    until_ms: int | None = None


def parse_question(by: str, since: str, until: str | None, now_ms: int) -> Question:
    """The question in a command line's words. Raises QuestionError."""
    since_ms = parse_moment(since, now_ms)
    until_ms = None if until is None else parse_moment(until, now_ms)
    if until_ms is not None and until_ms <= since_ms:
        raise QuestionError(f"the span is empty: {until!r} is not after {since!r}")
    return Question(parse_dimensions(by), since_ms, until_ms)


def parse_dimensions(text: str) -> tuple[str, ...]:
    """`customer,feature` as dimensions, in the order given; "" gives none."""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if name not in DIMENSIONS:
            raise QuestionError(f"{name!r} is not something to report by; known: {', '.join(DIMENSIONS)}")
        if names.count(name) > 1:
            raise QuestionError(f"{name!r} is given twice")
    return names


def parse_moment(text: str, now_ms: int) -> int:
    """A moment in ms: `90m`, `24h`, `7d`, `2w` before now, or an ISO date or time (UTC by default)."""
    ago = _AGO.fullmatch(text.strip().lower())
    if ago:
        return max(0, now_ms - int(ago[1]) * _UNITS_MS[ago[2]])
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise QuestionError(
            f"{text!r} is not a moment; write 24h, 7d, 2w, 2026-11-01 or 2026-11-01T12:00"
        ) from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return max(0, int(moment.timestamp()) * 1_000 + moment.microsecond // 1_000)
