"""Columns of an export: what each is called, of which kind it is, and how its cells are written. Pure.

A cell is None, a text, a whole number, a truth, a moment (ms since the epoch, UTC), or an amount (whole
nano-USD) or price (whole pico-USD), which is written as decimal dollars with all its digits.

In CSV a text that a spreadsheet would run as a formula begins with an apostrophe: one that begins with
= + - @ or a tab, and, so that taking one apostrophe away gives every text back, one that begins with an
apostrophe. Control characters are written out (`\\x1b`), but for tabs and the ends of lines.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from metering.money import nano_to_usd, pico_to_usd

Kind = Literal["text", "whole", "decimal", "truth", "moment", "second", "nano", "pico", "json"]
Cell = str | int | bool | dict[str, Any] | None
Line = Sequence[Cell]
LINES_AT_ONCE = 500
_FORMULAS = ("=", "+", "-", "@", "\t", "'")


@dataclass(frozen=True, slots=True)
class Column:
    """One column. kind `nano` and `pico`: the cell's whole number is written as dollars. `decimal`: a whole
    number where a reader expects one that need not be. `second`: a moment, to the second."""

    name: str
    kind: Kind = "text"


def csv_parts(columns: Sequence[Column], lines: Iterable[Line]) -> Iterator[bytes]:
    """The table as CSV (RFC 4180 but for its line ends, UTF-8), its head first; None is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    forms = [_CSV[column.kind] for column in columns]
    for number, line in enumerate(lines, 1):
        writer.writerow(["" if cell is None else form(cell) for form, cell in zip(forms, line, strict=True)])
        if number % LINES_AT_ONCE == 0:
            yield _taken(out)
    yield _taken(out)


def jsonl_parts(columns: Sequence[Column], lines: Iterable[Line]) -> Iterator[bytes]:
    """The table as one JSON object a line, every column in each; amounts are texts, so none is rounded."""
    forms = [(column.name, _JSON[column.kind]) for column in columns]
    portion: list[bytes] = []
    for line in lines:
        cells = zip(forms, line, strict=True)
        document = {name: None if cell is None else form(cell) for (name, form), cell in cells}
        portion.append(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))
        if len(portion) >= LINES_AT_ONCE:
            yield b"".join(portion)
            portion = []
    yield b"".join(portion)


def safe_text(text: str) -> str:
    """The text as a CSV cell that no spreadsheet runs and no terminal obeys."""
    if any(each < " " or each == "\x7f" for each in text):
        text = "".join(
            f"\\x{ord(each):02x}" if (each < " " and each not in "\t\n\r") or each == "\x7f" else each
            for each in text
        )
    return f"'{text}" if text.startswith(_FORMULAS) or text.startswith(("\r", "\n")) else text


def moment(at_ms: int) -> str:
    """ISO 8601, UTC, to the millisecond."""
    at = datetime.fromtimestamp(at_ms // 1_000, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"


def second(at_ms: int) -> str:
    """ISO 8601, UTC, to the second."""
    return f"{datetime.fromtimestamp(at_ms // 1_000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _taken(out: io.StringIO) -> bytes:
    # What is no Unicode (half a surrogate pair in old records) must not end an export.
    part = out.getvalue().encode(errors="replace")
    out.seek(0)
    out.truncate()
    return part


def _truth(cell: Any) -> str:
    return "true" if cell else "false"


def _json_text(cell: Any) -> str:
    return orjson.dumps(cell, option=orjson.OPT_SORT_KEYS).decode()


def _as_it_is(cell: Any) -> Any:
    return cell


_CSV: dict[Kind, Callable[[Any], str]] = {
    "text": safe_text,
    "whole": str,
    "decimal": str,
    "truth": _truth,
    "moment": moment,
    "second": second,
    "nano": nano_to_usd,
    "pico": pico_to_usd,
    "json": _json_text,
}
_JSON: dict[Kind, Callable[[Any], Any]] = {
    "text": _as_it_is,
    "whole": _as_it_is,
    "decimal": _as_it_is,
    "truth": _as_it_is,
    "moment": moment,
    "second": second,
    "nano": nano_to_usd,
    "pico": pico_to_usd,
    "json": _as_it_is,
}
