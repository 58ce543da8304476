"""Margins as a table for people, as CSV and as a JSON document. Pure."""

from __future__ import annotations

import csv
import io
from typing import Any

from billing.charges import PERIOD, PLAN_FEES
from billing.margin import EVENTS, MarginRow, MarginView
from reports.layout import NOBODY, Column, dollars, moment, plain, printable, usd, whole

OWN_ROWS = {PLAN_FEES: "(plan fees)", PERIOD: "(charged by period)"}
"""What people read where charges belong to none of a view's groups."""
REASONS = {
    "internal_customer": "internal",
    "no_revenue_source": "no source of revenue",
    "no_cost_known": "no cost is known",
    "cost_partly_known": "some costs are not known",
    "revenue_partly_known": "some revenue is not known",
    "revenue_is_zero": "no revenue",
}


def margin_columns(view: MarginView) -> list[Column]:
    """The table's columns. The last row is the total."""
    rows = [*view.rows, view.total]
    names = [
        Column(
            name,
            (*(_name(row, n) for row in view.rows), "" if n else "total"),
            right=False,
        )
        for n, name in enumerate(view.dimensions)
    ]
    return [
        *names,
        Column("revenue $", dollars([row.revenue_nano for row in rows])),
        Column("cost $", dollars([row.cost_nano for row in rows])),
        Column("margin $", dollars([row.margin_nano for row in rows])),
        Column("margin", tuple(_percent(row) for row in rows)),
        Column("requests", tuple(f"{row.events:,}" for row in rows)),
        Column("wasted $", dollars([row.wasted_nano for row in rows])),
        Column("", tuple(REASONS.get(row.reason or "", "") for row in rows), right=False),
    ]


def margin_csv(view: MarginView) -> str:
    """One line of names, one for each row; no total, so that sums over a column are right."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*view.dimensions, *_facts(view.total)])
    for row in view.rows:
        facts = ("" if value is None else value for value in _facts(row).values())
        writer.writerow([*(part or "" for part in row.key), *facts])
    return out.getvalue()


def margin_document(view: MarginView, since_ms: int, until_ms: int) -> dict[str, Any]:
    """The view for JSON: `rows` with their dimensions by name, `total`, and what was asked."""
    return {
        "by": list(view.dimensions),
        "since": moment(since_ms),
        "until": moment(until_ms),
        "rows": [{**dict(zip(view.dimensions, row.key, strict=True)), **_facts(row)} for row in view.rows],
        "total": _facts(view.total),
    }


def _name(row: MarginRow, place: int) -> str:
    value = row.key[place]
    if value is not None:
        return printable(value)
    if row.kind == EVENTS:
        return NOBODY
    return OWN_ROWS[row.kind] if place == row.key.index(None) else ""


def _percent(row: MarginRow) -> str:
    return "-" if row.margin_pct is None else f"{row.margin_pct:.1f} %"


def _facts(row: MarginRow) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "revenue_usd": usd(row.revenue_nano),
        "revenue_nano": whole(row.revenue_nano),
        "event_revenue_nano": whole(row.event_nano),
        "plan_fees_nano": whole(row.fees_nano),
        "period_charges_nano": whole(row.period_nano),
        "cost_usd": usd(row.cost_nano),
        "cost_nano": whole(row.cost_nano),
        "wasted_usd": usd(row.wasted_nano),
        "wasted_nano": whole(row.wasted_nano),
        "margin_usd": usd(row.margin_nano),
        "margin_nano": whole(row.margin_nano),
        "margin_pct": plain(row.margin_pct),
        "reason": row.reason,
        "requests": row.events,
        "unpriced_requests": row.unpriced,
        "requests_without_revenue": row.events - row.revenue_known,
    }
