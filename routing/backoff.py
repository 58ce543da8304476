"""How long to wait before the same target is asked again: full jitter, or what the provider asks for.
Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


def full_jitter_s(repeat: int, base_s: float, cap_s: float, draw: Callable[[], float]) -> float:
    """A random wait up to base_s x 2^repeat, at most cap_s. `repeat` counts from 0, `draw` gives [0, 1).

    Drawn from the whole stretch and not around its end: clients that failed together come back apart.
    """
    return draw() * min(cap_s, base_s * 2.0 ** min(repeat, 30))


def retry_after_s(header: Callable[[bytes], bytes | None], now: datetime | None = None) -> float | None:
    """Seconds that an answer asks its caller to wait; None where it asks for nothing that can be read.

    `retry-after-ms` (OpenAI, Azure) speaks before `retry-after`, which is seconds or an HTTP date.
    """
    told = _number(header(b"retry-after-ms"))
    if told is not None:
        return told / 1_000
    raw = header(b"retry-after")
    told = _number(raw)
    if told is not None or raw is None:
        return told
    try:
        moment = parsedate_to_datetime(raw.decode("latin-1"))
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())


def _number(raw: bytes | None) -> float | None:
    try:
        found = float(raw) if raw is not None else None
    except ValueError:
        return None
    return found if found is not None and 0 <= found < 1e9 else None
