"""Views: cost, revenue and margin of a span by any names, from rollups and from what is owed.

One view asks the record once by its names (a rollup answers) and the plans once. Its total is the exact sum
of its rows, and the same for every choice of names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from accounts.plan import plan_of
from accounts.profilebook import internal_customers
from billing.charges import PLAN_FEES, Charge
from billing.margin import EVENTS, MarginRow, margin_view
from gateway.api.charges import charges_in
from gateway.api.endpoint import Call
from gateway.api.spans import Span
from gateway.errors import BadRequest
from metering.costsums import CostRow
from metering.rollup import DAY_MS, ROLLUPS
from reports.calendar import Bucket, days_between, on_hours
from reports.regroup import Key, added, nothing, regrouped

SINGLE_EVENTS_MS = 7 * DAY_MS
"""So long a span is answered from single events, where no rollup knows the names together."""
ZONE_DAYS_MAX = 92
"""Each day of a time zone is a question of its own."""
OF_CHARGES = ("customer", "plan", "feature")
"""The names that charges have."""


@dataclass(frozen=True, slots=True)
class Row:
    """One group. `margin.kind` is `events`, or the kind of the charges that belong to no group."""

    margin: MarginRow
    sums: CostRow

    @property
    def key(self) -> Key:
        """The group's values of the names."""
        return self.margin.key

    @property
    def tasks(self) -> int:
        """Tasks that count in the group."""
        return self.sums.tasks


@dataclass(frozen=True, slots=True)
class View:
    """The smallest margin first, those without one after them; and the sum of all."""

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    total: Row


def view_of(
    call: Call,
    names: Sequence[str],
    span: Span,
    where: Mapping[str, str] | None = None,
    time_zone: str = "UTC",
) -> View:
    """The account's view. `where`: names that must be so; of a plan its key. BadRequest where that cannot be
    answered from rollups, and the span is too long for single events."""
    where = where or {}
    rows = cost_rows(call, names, span, where, time_zone)
    charges = charges_in(call, [span], where.get("customer"))[0]
    return joined(names, rows, fitting(charges, where), internal_of(call) if "customer" in names else ())


def internal_of(call: Call) -> frozenset[str]:
    """Customers of the account of which it is said that they are the operator's own use."""
    with call.parts.engine.connect() as connection:
        return internal_customers(connection, call.account_id)


def joined(
    names: Sequence[str],
    rows: Sequence[CostRow],
    charges: Iterable[Charge],
    internal: Collection[str] = (),
) -> View:
    """Rows of the record with what is owed beside them. `internal`: as for `margin_view`. Pure."""
    view = margin_view(names, rows, charges, internal)
    merged = regrouped(rows, lambda key: tuple(map(_plain, names, key))) if "plan" in names else rows
    sums = {row.key: row for row in merged}
    made = [
        Row(row, sums.pop(row.key, nothing(row.key)) if row.kind == EVENTS else nothing(row.key))
        for row in view.rows
    ]
    return View(view.dimensions, tuple(made), Row(view.total, added(merged)))


def cost_rows(
    call: Call, names: Sequence[str], span: Span, where: Mapping[str, str], time_zone: str = "UTC"
) -> list[CostRow]:
    """The record's sums. Plans stay told apart by version, as they are recorded."""
    plan = where.get("plan")
    asked = tuple(names) if plan is None or "plan" in names else (*names, "plan")
    exact = {name: value for name, value in where.items() if name != "plan"}
    check_known({*asked, *exact}, span)
    if "day" in asked and time_zone != "UTC":
        rows = _by_days_of(call, asked, span, exact, time_zone)
    else:
        rows = _sums(call, asked, span, exact)
    if plan is None:
        return rows
    place, width = asked.index("plan"), len(names)

    def kept(key: Key) -> Key | None:
        return key[:width] if key[place] is not None and plan_of(key[place] or "") == plan else None

    return regrouped(rows, kept)


def fitting(charges: Iterable[Charge], where: Mapping[str, str]) -> list[Charge]:
    """Those that belong to what is asked for: a plan's fee to no feature, and no charge to a model."""
    if any(name not in OF_CHARGES for name in where):
        return []
    return [
        each
        for each in charges
        if all(value == getattr(each, name) for name, value in where.items())
        and not (each.kind == PLAN_FEES and "feature" in where)
    ]


def zone_days(span: Span, time_zone: str) -> list[Bucket]:
    """The days of a zone. BadRequest where they do not lie on whole hours, or are too many."""
    try:
        days = days_between(span.since_ms, span.until_ms, time_zone)
    except ValueError as error:
        raise BadRequest(f"{error}.", param="tz") from None
    check_hours("Days", days, time_zone)
    if len(days) > ZONE_DAYS_MAX:
        raise BadRequest(
            f"{len(days)} days of a time zone are too many; ask for {ZONE_DAYS_MAX} or in UTC.", param="tz"
        )
    return days


def check_hours(what: str, buckets: list[Bucket], time_zone: str) -> None:
    """BadRequest where these buckets of a time zone begin between the hours that rollups know."""
    if not on_hours(buckets):
        raise BadRequest(
            f"{what} of {time_zone} do not begin on a whole hour of UTC, and the record is summed by those.",
            param="tz",
        )


def _by_days_of(
    call: Call, names: Sequence[str], span: Span, where: Mapping[str, str], time_zone: str
) -> list[CostRow]:
    place = list(names).index("day")
    others = [name for name in names if name != "day"]
    found = []
    for day in zone_days(span, time_zone):
        for row in _sums(call, others, Span(day.since_ms, day.until_ms), where):
            key = (*row.key[:place], day.name, *row.key[place:])
            found.append(row._replace(key=key))
    return found


def _sums(call: Call, names: Sequence[str], span: Span, where: Mapping[str, str]) -> list[CostRow]:
    return call.parts.events.cost_by(
        names, span.since_ms, span.until_ms, account_id=call.account_id, where=where
    )


def check_known(names: Iterable[str], span: Span) -> None:
    """Raise BadRequest where single events have to be read, and the span is too long for that."""
    columns = {"key_id" if name == "key" else name for name in names if name not in ("day", "hour")}
    if span.until_ms - span.since_ms <= SINGLE_EVENTS_MS or any(each.knows(columns) for each in ROLLUPS):
        return
    raise BadRequest(
        f"No sums are kept by {', '.join(sorted(columns))} together: single events are read for that, of "
        f"{SINGLE_EVENTS_MS // DAY_MS} days at most. Ask for a shorter span or fewer names.",
        code="span_too_long",
        param="date_from",
    )


def _plain(name: str, value: str | None) -> str | None:
    return plan_of(value) if name == "plan" and value else value
