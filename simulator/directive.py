"""What a test asks the simulator to do: `[[simulate: status=429 retry_after=2 times=1]]`.

The names are described in the package's docstring. Parsing is pure; a name or a value that is not known is a
Refusal, because a directive that silently does nothing makes a test that silently checks nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

from simulator.errors import Refusal
from simulator.models import Model

METADATA_ADDRESS = "http://169.254.169.254/latest/meta-data/"
_PATTERN = re.compile(r"\[\[simulate:(.*?)\]\]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Directive:
    """One call's wishes. None or False: not asked for."""

    tokens: int | None = None
    pace_ms: float | None = None
    first_ms: float | None = None
    reasoning: int | None = None
    cached: int | None = None
    searches: int | None = None
    tier: str | None = None
    served: str | None = None
    bill_full: bool = False
    status: int | None = None
    retry_after: str | None = None
    retry_after_ms: str | None = None
    code: str | None = None
    html: bool = False
    tell_key: bool = False
    redirect: str | None = None
    hang: str | None = None
    reset_after_bytes: int | None = None
    close_after_chunks: int | None = None
    dribble: float | None = None
    chunk_split: int | None = None
    wrong_length: int | None = None
    malformed: str | None = None
    no_usage: bool = False
    usage_twice: bool = False
    no_done: bool = False
    error_in_stream: int | None = None
    ignore_max: bool = False
    close_idle: bool = False
    stale_next: bool = False
    times: int | None = None
    id: str | None = None

    def settled(self) -> Directive:
        """The same wishes for size and pace, without the misbehaviour."""
        return Directive(**{name: getattr(self, name) for name in _HARMLESS})

    def serving(self, known: Mapping[str, Model], asked: Model) -> Model:
        """The model that really answers instead of `asked`. Raises Refusal when the dialect has none such."""
        if self.served is None:
            return asked
        model = known.get(self.served)
        if model is None or model.kind != asked.kind:
            raise _complaint(f"served={self.served}", "no such model")
        return model


NONE = Directive()
_HARMLESS = (
    "tokens", "pace_ms", "first_ms", "reasoning", "cached", "searches", "tier", "served", "bill_full",
)  # fmt: skip
HALFWAY = -1
"""`error_in_stream` without a number."""


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("expected a whole number")
    return int(text)


def _positive(text: str) -> int:
    if (value := _whole(text)) < 1:
        raise ValueError("expected a whole number above 0")
    return value


def _milliseconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 3_600_000:
        raise ValueError("expected milliseconds between 0 and 3,600,000")
    return value


def _error_status(text: str) -> int:
    if not 400 <= (value := _whole(text)) <= 599:
        raise ValueError("expected a status between 400 and 599")
    return value


def _flag(text: str) -> bool:
    if text not in ("", "1", "0", "true", "false"):
        raise ValueError("expected no value, or 1 or 0")
    return text not in ("0", "false")


def _one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return text

    return read


def _header(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        raise ValueError("expected printable ASCII")
    return text


_READERS: dict[str, Callable[[str], Any]] = {
    "tokens": _whole,
    "pace_ms": _milliseconds,
    "first_ms": _milliseconds,
    "reasoning": _whole,
    "cached": _whole,
    "searches": _whole,
    "tier": _one_of("default", "standard", "flex", "priority", "batch"),
    "served": str,
    "status": _error_status,
    "retry_after": _header,
    "retry_after_ms": _header,
    "code": str,
    "redirect": lambda text: _header(text or METADATA_ADDRESS),
    "hang": _one_of("before_headers", "after_headers"),
    "reset_after_bytes": _whole,
    "close_after_chunks": _positive,
    "dribble": lambda text: _milliseconds(text or "1"),
    "chunk_split": _positive,
    "wrong_length": lambda text: int(text or "10"),
    "malformed": _one_of("json", "sse"),
    "error_in_stream": lambda text: _whole(text) if text else HALFWAY,
    "times": _whole,
    "id": str,
}
_NAMES = tuple(part.name for part in fields(Directive))


def find(text: str) -> str | None:
    """The words of every directive in `text`, or None."""
    found = _PATTERN.findall(text)
    return " ".join(part.strip() for part in found) if found else None


def wished(text: str, more: Any = None) -> Directive:
    """What a text asks for; `more` is a request's own field for it, which needs no brackets."""
    words = find(text) or ""
    if isinstance(more, str):
        words = f"{words} {find(more) or more}"
    return parse(words.strip()) if words.strip() else NONE


@lru_cache(maxsize=1024)
def parse(text: str) -> Directive:
    """Read the words between `[[simulate:` and `]]`. Raises Refusal naming the word that is wrong."""
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise _complaint(text, str(error)) from None
    values: dict[str, Any] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        if name not in _NAMES:
            raise _complaint(part, f"unknown name; known: {', '.join(_NAMES)}")
        if not equals and name not in _BARE:
            raise _complaint(part, f"write {name}=VALUE")
        try:
            values[name] = _READERS.get(name, _flag)(value)
        except ValueError as error:
            raise _complaint(part, str(error)) from None
    directive = Directive(**values)
    if directive.times is not None and directive.id is None:
        directive = replace(directive, id=text)
    return directive


_BARE = {"redirect", "dribble", "wrong_length", "error_in_stream"} | (set(_NAMES) - set(_READERS))


def _complaint(part: str, problem: str) -> Refusal:
    return Refusal(400, f"simulate: {part!r}: {problem}", code="invalid_directive")
