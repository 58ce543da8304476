"""What a limit says, as people read and write it: kinds, amounts, windows."""

from __future__ import annotations

from typing import Any

from accounts.key import KeyLimit
from budgets.limit import KINDS, RATE_KINDS, check_amount
from metering.money import nano_to_usd, usd_to_nano

KIND_WORDS = tuple(kind.replace("_", "-") for kind in KINDS)
_COUNTED = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "requests_per_minute": "requests a minute",
    "tokens_per_minute": "tokens a minute",
    "concurrency": "requests at once",
}


def kind_of(word: str) -> str:
    """`input-tokens` as limits have it."""
    return word.replace("-", "_")


def kind_word(kind: str) -> str:
    """A kind as it is written on the command line."""
    return kind.replace("_", "-")


def read_usd(text: str) -> int:
    """`25`, `25.00`, `25usd` or `$25` as nano-USD. ValueError says what is wrong."""
    return usd_to_nano(text.strip().lower().removeprefix("$").removesuffix("usd").strip())


def read_value(kind: str, text: str) -> int:
    """Dollars as nano-USD for the kind money, else a whole number. ValueError says what is wrong."""
    if kind == "money":
        return check_amount(read_usd(text), f"the limit {text!r}")
    plain = text.strip().replace("_", "").replace(",", "")
    if not (plain.isascii() and plain.isdigit()):
        raise ValueError(f"{text!r}: a limit of {kind_word(kind)} is a whole number, such as 1000")
    return check_amount(int(plain), f"the limit {text!r}")


def read_thresholds(text: str) -> tuple[int, ...]:
    """`50,80,100` as rising percents; `none` as none. ValueError says what is wrong."""
    if text.strip().lower() in ("", "none"):
        return ()
    words = [word.strip().removesuffix("%").strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise ValueError(f"thresholds {text!r}: write percents such as 50,80,100, or none")
    return tuple(sorted({int(word) for word in words}))


def amount_text(kind: str, amount: int) -> str:
    """An amount alone, for a column: dollars without a sign, or a count."""
    return nano_to_usd(amount) if kind == "money" else str(amount)


def terms_text(limit: KeyLimit) -> str:
    """`month limit $25.00`, `day limit 1000 tokens (Europe/Berlin)`, `limit 60 requests a minute`."""
    return f"limit {_what(limit)}" if _windowless(limit) else f"{limit.window} limit {_what(limit)}"


def short_text(limit: KeyLimit) -> str:
    """`month $25.00`, `60 requests a minute`."""
    return _what(limit) if _windowless(limit) else f"{limit.window} {_what(limit)}"


def _windowless(limit: KeyLimit) -> bool:
    return limit.kind in RATE_KINDS or limit.kind == "concurrency"


def _what(limit: KeyLimit) -> str:
    if limit.kind == "money":
        return f"${nano_to_usd(limit.value)}{window_note(limit)}"
    return f"{limit.value} {_COUNTED[limit.kind]}{window_note(limit)}"


def window_note(limit: KeyLimit) -> str:
    """When windows begin, where that is not the first day in UTC: ` (Europe/Berlin, from day 15)`."""
    notes = [] if limit.time_zone == "UTC" else [limit.time_zone]
    if limit.anchor != 1:
        notes.append(f"from {'day' if limit.window == 'month' else 'weekday'} {limit.anchor}")
    return f" ({', '.join(notes)})" if notes else ""


def amount_fields(kind: str, name: str, amount: int | None) -> dict[str, Any]:
    """An amount in a JSON document: decimal dollars and nano-USD as text for money, else a number."""
    if kind != "money":
        return {name: amount}
    return {
        f"{name}_usd": None if amount is None else nano_to_usd(amount),
        f"{name}_nano": None if amount is None else str(amount),
    }
