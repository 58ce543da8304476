"""How single fields of a reported event are read: typed, bounded, and with a word for what is wrong. Pure.

A field that is absent, null, or (for texts) empty gives None: the three mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from accounts.naming import NAME, NAME_EXPECTED
from metering.event import AMOUNT_MAX
from metering.money import nano_to_usd, usd_to_nano

PAST_MS = 35 * 86_400_000
FUTURE_MS = 5 * 60_000
"""Moments that are believed: from so long ago to so far ahead. Clocks differ, and queues take time."""
TOKENS_MAX = 10**9
"""Of one event. The largest context is a hundredth of it, and no price makes it an amount beyond counting."""
KEY_MAX = 255
FLOW_MAX = 64
PROPERTIES_MAX = 64
PROPERTY_VALUE_MAX = 1_024
NAME_MAX = 256
OUTCOMES = ("success", "failure", "rejected", "unknown")

Reader = Callable[[str, Any], Any]
"""Reads one field: (its name, its value) -> what it says, None for nothing. Raises Refused."""
_KEY = re.compile(r"[\x20-\x7e]{1,255}\Z")
_NAME = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,256}\Z")
_PROPERTY = re.compile(r"[\x21-\x7e]{1,64}\Z")
_VALUE = re.compile(r"[^\x00\ud800-\udfff]*\Z")
_AMOUNT = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?\Z")
_USD_MAX = nano_to_usd(AMOUNT_MAX)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Refused(ValueError):
    """An event that cannot be taken as it is: `code` for programs, the text for people, `field` for both."""

    def __init__(self, text: str, *, code: str = "validation_failed", field: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.field = field


def text_field(name: str, value: Any) -> str | None:
    """A text without its NULs, which some logs carry; not more than that is changed."""
    if value is None:
        return None
    if type(value) is not str:
        raise _wrong(name, "a text", value)
    return value.replace("\0", "") or None


def id_field(name: str, value: Any) -> str | None:
    """A name of a customer, a feature, a trace: what the gateway's own headers may say, too."""
    if type(value) is str and NAME.match(value):
        return value
    text = text_field(name, value)
    if text is not None and not NAME.match(text):
        raise _wrong(name, NAME_EXPECTED, value)
    return text


def name_field(name: str, value: Any) -> str | None:
    """A name for people: 1 to 256 characters of one line."""
    if type(value) is str and _NAME.match(value):
        return value
    text = text_field(name, value)
    if text is not None and not _NAME.match(text):
        raise _wrong(name, f"1 to {NAME_MAX} characters of one line", value)
    return text


def key_field(name: str, value: Any) -> str | None:
    """An idempotency key, which must not be changed by a single character."""
    if value is None or value == "":
        return None
    if type(value) is not str or not _KEY.match(value):
        raise _wrong(name, f"1 to {KEY_MAX} printable ASCII characters", value)
    return value


def count_field(name: str, value: Any, most: int = TOKENS_MAX) -> int | None:
    """A whole number from 0 to `most`, however it is spelled: 5, 5.0 and 5e0 are one number."""
    if type(value) is int and 0 <= value <= most:
        return value
    if value is None:
        return None
    if type(value) is Decimal and value.is_finite() and abs(value.adjusted()) < 20 and value % 1 == 0:
        value = int(value)
    if type(value) is not int or not 0 <= value <= most:
        raise _wrong(name, f"a whole number from 0 to {most}", value)
    return value


def usd_field(name: str, value: Any) -> int | None:
    """Dollars, as a number or a text, in nano-USD. Exactly: what is finer than a nano-dollar is refused."""
    if value is None or value == "":
        return None
    if type(value) not in (int, str, Decimal) or (type(value) is str and not _AMOUNT.match(value)):
        raise _wrong(name, "dollars such as 0.05", value)
    try:
        nano = usd_to_nano(value)
    except ValueError:
        raise _wrong(name, f"dollars from 0 to {_USD_MAX} with at most 9 decimals", value) from None
    if not 0 <= nano <= AMOUNT_MAX:
        raise _wrong(name, f"dollars from 0 to {_USD_MAX}", value)
    return nano


def moment_field(name: str, value: Any, now_ms: int, *, backfill: bool) -> int | None:
    """A moment in ISO 8601, without a zone in UTC, as milliseconds. `backfill`: any past one will do."""
    if value is None or value == "":
        return None
    moment: datetime | None = None
    if type(value) is str and "T" in value.upper().replace(" ", "T"):
        try:
            moment = datetime.fromisoformat(value.upper())  # RFC 3339 has them in small letters, too
        except ValueError:
            moment = None
    if moment is None:
        raise _wrong(name, "a moment in ISO 8601, such as 2026-05-01T12:00:00Z", value)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    moment_ms = (moment - _EPOCH) // _MILLISECOND
    if moment_ms > now_ms + FUTURE_MS or moment_ms < (0 if backfill else now_ms - PAST_MS):
        raise Refused(
            f"{name}: {value} is out of range: events are taken from 35 days ago to 5 minutes ahead"
            + (", and with this key from 1970 on" if backfill else ""),
            code="timestamp_out_of_range",
            field=name,
        )
    return moment_ms


def outcome_field(name: str, value: Any) -> str | None:
    """What became of the task that the event was made for."""
    text = text_field(name, value)
    if text is not None and text not in OUTCOMES:
        raise _wrong(name, f"one of {', '.join(OUTCOMES)}", value)
    return text


def units_field(name: str, value: Any) -> int | None:
    """How much of its feature an event is."""
    return count_field(name, value, AMOUNT_MAX)


def duration_field(name: str, value: Any) -> int | None:
    """Milliseconds; no call takes longer than events are taken back."""
    return count_field(name, value, PAST_MS)


def flow_field(name: str, value: Any) -> str | None:
    """An id of at most 64 characters."""
    text = id_field(name, value)
    if text is not None and len(text) > FLOW_MAX:
        raise _wrong(name, f"at most {FLOW_MAX} characters", value)
    return text


def currency_field(name: str, value: Any) -> None:
    """Amounts are US dollars: whoever says another unit would be understood wrongly."""
    unit = name_field(name, value)
    if unit is not None and unit.lower() != "usd":
        raise _wrong(name, '"usd", since amounts are US dollars', value)


def properties_field(name: str, value: Any, prefix: str = "") -> dict[str, str]:
    """A flat object as texts: numbers and booleans as JSON writes them, deeper values as compact JSON."""
    if value is None:
        return {}
    if type(value) is not dict or len(value) > PROPERTIES_MAX:
        raise _wrong(name, f"an object of at most {PROPERTIES_MAX} values", value)
    found: dict[str, str] = {}
    for key, item in value.items():
        if not _PROPERTY.match(key):
            raise _wrong(f"{name}.{key:.80}", "a name of 1 to 64 visible ASCII characters", key)
        if item is None:
            continue
        text = item.replace("\0", "") if type(item) is str else _json_text(item)
        if len(text) > PROPERTY_VALUE_MAX or not _VALUE.match(text):
            raise _wrong(f"{name}.{key}", f"at most {PROPERTY_VALUE_MAX} characters", item)
        found[prefix + key] = text
    return found


def read_fields(
    fields: Mapping[str, Any],
    readers: Mapping[str, tuple[str, Reader]],
    said: dict[str, Any],
    where: str = "",
) -> None:
    """Add what the fields say to `said`, under the names that their readers stand with. Refuses what nobody
    would read: a misspelled field would be an amount lost."""
    try:
        for name, value in fields.items():
            known, read = readers[name]
            found = read(name, value)
            if found is not None:
                if known in said:
                    raise Refused(f"{name} says what another field says, too; send one of them", field=name)
                said[known] = found
    except KeyError:
        unknown = sorted(name for name in fields if name not in readers)
        shown = ", ".join(f"{where}{name:.80}" for name in unknown[:10])
        raise Refused(
            _printable(f"unknown fields: {shown}"), code="unknown_field", field=_printable(unknown[0][:80])
        ) from None


def _json_text(item: Any) -> str:
    try:
        return orjson.dumps(item, default=_number_text, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, ValueError, UnicodeError, RecursionError):
        raise Refused("a property holds what JSON cannot hold", field="properties") from None


def _number_text(item: Any) -> Any:
    """Decimals, which orjson does not know, in their plainest spelling."""
    if isinstance(item, Decimal) and item.is_finite() and abs(item.adjusted()) < 40:
        return orjson.Fragment(format(item.normalize(), "f"))
    raise TypeError


def _wrong(name: str, expected: str, value: object) -> Refused:
    return Refused(_printable(f"{name}: expected {expected}, found {_shown(value)}"), field=_printable(name))


def _shown(value: object) -> str:
    if type(value) is dict or type(value) is list:
        return "an object" if type(value) is dict else "a list"
    if type(value) is str:
        return repr(value) if len(value) <= 80 else f"{value[:60]!r}... ({len(value)} characters)"
    text = str(value) if type(value) is Decimal or type(value) is int else repr(value)
    return text if len(text) <= 80 else f"{text[:60]}..."


def _printable(text: str) -> str:
    """What can be written into an answer: no half of a surrogate pair."""
    return text.encode("utf-8", "replace").decode()
