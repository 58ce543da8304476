"""A cost report as a table for people, as CSV and as a JSON document. Pure.

People read "unknown" where a figure is unknown; CSV leaves the field empty and JSON says null. Money is in
dollars, exact to the nano-dollar; JSON and CSV add the whole nano-dollars.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from metering.money import nano_to_usd
from reports.figures import CostReport, Figures

UNKNOWN = "unknown"
NOBODY = "(none)"
"""What people read for a customer, feature, ... that the requests did not have."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its head, its cells with the total's last, and its side."""

    head: str
    cells: tuple[str, ...]
    right: bool = True


def columns(report: CostReport) -> list[Column]:
    """The table's columns. The last row is the total."""
    rows = [*report.rows, report.total]
    names = [
        Column(
            name,
            (*(printable(row.key[n] or NOBODY) for row in report.rows), "" if n else "total"),
            right=False,
        )
        for n, name in enumerate(report.question.dimensions)
    ]
    return [
        *names,
        Column("cost $", dollars([row.cost_nano for row in rows])),
        Column("share", tuple(percent(row.share) for row in rows)),
        Column("requests", tuple(f"{row.sums.events:,}" for row in rows)),
        Column("success", tuple(percent(row.success_rate) for row in rows)),
        Column("$ / success", dollars([row.cost_per_success_nano for row in rows], absent="-")),
        Column("tokens in", tuple(f"{row.sums.input_tokens:,}" for row in rows)),
        Column("cached", tuple(f"{row.sums.cached_tokens:,}" for row in rows)),
        Column("tokens out", tuple(f"{row.sums.output_tokens:,}" for row in rows)),
        Column("wasted $", dollars([row.sums.wasted_nano for row in rows])),
        Column("not known", tuple(_not_known(row) for row in rows)),
    ]


def text(table: Sequence[Column]) -> str:
    """The columns as plain aligned lines: head, rule, rows, rule, total."""
    widths = [max(len(column.head), *map(len, column.cells)) for column in table]
    count = len(table[0].cells)
    rule = "  ".join("-" * width for width in widths)
    lines = [_line([column.head for column in table], table, widths), rule]
    lines += [_line([column.cells[n] for column in table], table, widths) for n in range(count - 1)]
    if count > 1:
        lines.append(rule)
    lines.append(_line([column.cells[-1] for column in table], table, widths))
    return "\n".join(lines)


def csv_text(report: CostReport) -> str:
    """One line of names, one for each row; no total, so that sums over a column are right."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*report.question.dimensions, *_facts(report.total)])
    for row in report.rows:
        facts = ("" if value is None else value for value in _facts(row).values())
        writer.writerow([*(part or "" for part in row.key), *facts])
    return out.getvalue()


def document(report: CostReport) -> dict[str, Any]:
    """The report for JSON: `rows` with their dimensions by name, `total`, and what was asked."""
    question = report.question
    return {
        "by": list(question.dimensions),
        "since": moment(question.since_ms),
        "until": None if question.until_ms is None else moment(question.until_ms),
        "rows": [
            {**dict(zip(question.dimensions, row.key, strict=True)), **_facts(row)} for row in report.rows
        ],
        "total": _facts(report.total),
    }


def moment(at_ms: int) -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(at_ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def printable(value: str) -> str:
    """The text with what a terminal might obey (control and direction characters) written out."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in value)


def _facts(row: Figures) -> dict[str, Any]:
    sums = row.sums
    return {
        "cost_usd": usd(row.cost_nano),
        "cost_nano": whole(row.cost_nano),
        "share": plain(row.share),
        "requests": sums.events,
        "successes": sums.successes,
        "failures": sums.failures,
        "success_rate": plain(row.success_rate),
        "cost_per_success_usd": usd(row.cost_per_success_nano),
        "cost_per_success_nano": whole(row.cost_per_success_nano),
        "attempts": sums.attempts,
        "input_tokens": sums.input_tokens,
        "cached_tokens": sums.cached_tokens,
        "output_tokens": sums.output_tokens,
        "reasoning_tokens": sums.reasoning_tokens,
        "wasted_usd": usd(sums.wasted_nano),
        "wasted_nano": whole(sums.wasted_nano),
        "unpriced_requests": sums.unpriced,
        "unknown_usd": usd(sums.unknown_nano),
        "unknown_nano": whole(sums.unknown_nano),
        "doubted_usd": usd(sums.doubted_nano),
        "doubted_nano": whole(sums.doubted_nano),
        "revenue_usd": usd(row.revenue_nano),
        "revenue_nano": whole(row.revenue_nano),
    }


def usd(nano: int | None) -> str | None:
    """Decimal dollars."""
    return None if nano is None else nano_to_usd(nano)


def whole(nano: int | None) -> str | None:
    """Nano-dollars as a text, since JSON's readers lose digits of large numbers."""
    return None if nano is None else str(nano)


def plain(ratio: Decimal | None) -> str | None:
    """`0.1234`."""
    return None if ratio is None else f"{ratio:f}"


def percent(ratio: Decimal | None) -> str:
    """`12.3 %`."""
    return "-" if ratio is None else f"{ratio * 100:.1f} %"


def dollars(amounts: Sequence[int | None], absent: str = UNKNOWN) -> tuple[str, ...]:
    """Dollars with as many places as the finest of the column needs, so that the points are in line."""
    known = [nano_to_usd(nano) for nano in amounts if nano is not None]
    places = max((len(each.partition(".")[2]) for each in known), default=2)
    cells = []
    for nano in amounts:
        if nano is None:
            cells.append(absent)
        else:
            shown, _, fraction = nano_to_usd(abs(nano)).partition(".")
            cells.append(f"{'-' if nano < 0 else ''}{int(shown):,}.{fraction:<0{places}}")
    return tuple(cells)


def _not_known(row: Figures) -> str:
    more = f"up to ${nano_to_usd(row.sums.unknown_nano)} more" if row.sums.unknown_nano else ""
    if not row.sums.unpriced:
        return more or "-"
    return f"{row.sums.unpriced:,} unpriced" + (f"; {more} where bounded" if more else "")


def _line(cells: Sequence[str], table: Sequence[Column], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.rjust(width) if column.right else cell.ljust(width)
        for cell, column, width in zip(cells, table, widths, strict=True)
    ).rstrip()
