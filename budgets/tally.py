"""Tally: what the rows of limits should say, summed from a snapshot of the record.

Limits that count by the same names over the same span share one query; a limit on each thing of a scope
takes one for all of them. Limits made inside the window count from their making: the span is cut at those
moments, each part is summed once, and the parts are added from the last to the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from budgets.counted import Amounts, LimitIndex, amounts, counts_from
from budgets.limit import EACH, PART_SEPARATOR, LimitTerms, names_one, row_field
from budgets.meter import Meter
from budgets.names import names_of
from budgets.rowset import place_of
from budgets.window import FOREVER_MS, Window, window_of
from metering.ids import key_and_above
from metering.rowsums import Sums
from metering.snapshot import Snapshot

NAMED_MAX = 16
"""So many limits on single things are asked for one by one; for more, all things of the scope are summed."""
_COLUMNS = {
    "account": (),
    "key": ("key_id",),
    "customer": ("customer",),
    "workspace": ("customer", "workspace"),
    "feature": ("feature",),
    "customer_feature": ("customer", "feature"),
    "plan": ("plan",),
    "trace": ("trace_id",),
    "route": ("route",),
}
_PLAN = _COLUMNS["plan"]
_OF_KEYS = _COLUMNS["key"]
Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one limit in its present window: (hash, field) come from `place`, `sums` by scope key."""

    account_id: str
    limit: LimitTerms
    window: Window
    sums: Mapping[Key, Amounts]

    def lines(self) -> Iterator[tuple[str, str, int, int]]:
        """(hash, field, spent, doubted) of every row that is not zero."""
        limit = self.limit
        if not self.sums:
            return
        place = place_of(limit, "", self.account_id, self.window.start_ms)
        trace = limit.scope == "trace"
        start = names_of(self.account_id).trace + f"{self.account_id}:"
        one, prefix = names_one(limit), row_field(limit, "")
        for key, sums in self.sums.items():
            spent, doubted = amounts(limit.kind, sums)
            if spent or doubted:
                name = PART_SEPARATOR.join(key)
                field = prefix if one else prefix + name
                yield (start + name if trace else place.hash, field, spent, doubted)


def tally(snapshot: Snapshot, index: LimitIndex, limits: Iterable[LimitTerms], now_ms: int) -> list[Part]:
    """What the present rows of these limits of the account should say."""
    groups: dict[tuple[Key, Window], list[LimitTerms]] = {}
    metered: dict[tuple[Key, Window], list[Meter]] = {}
    for limit in limits:
        name = _COLUMNS[limit.scope], window_of(limit, now_ms)
        if isinstance(limit, Meter):
            metered.setdefault(name, []).append(limit)
        else:
            groups.setdefault(name, []).append(limit)
    parts = [
        Part(index.account_id, limit, window, sums)
        for (columns, window), members in groups.items()
        for limit, sums in _sum_group(snapshot, index.account_id, columns, window, members, now_ms)
    ]
    for (columns, window), meters in metered.items():
        for meter, sums in _sum_meters(snapshot, index.account_id, columns, window, meters):
            parts.append(Part(index.account_id, meter, window, sums))
    return parts


def _sum_meters(
    snapshot: Snapshot, account_id: str, columns: Key, window: Window, meters: Sequence[Meter]
) -> Iterator[tuple[Meter, Mapping[Key, Amounts]]]:
    """Sums by customer, or customer and feature, of the events with the meters' labels: one query for all."""
    counting: dict[tuple[str, str | None], list[dict[Key, Amounts]]] = {}
    found: list[tuple[Meter, dict[Key, Amounts]]] = [(meter, {}) for meter in meters]
    for meter, sums in found:
        for label in meter.labels:
            counting.setdefault((label, meter.feature), []).append(sums)
    to_ms = None if window.end_ms == FOREVER_MS else window.end_ms
    recorded = snapshot.row_sums(account_id, (*columns, "plan"), {}, window.start_ms, to_ms)
    for (*key, label), amount in recorded.items():
        feature = key[1] if len(key) > 1 else None
        for sums in counting.get((label, feature), ()):
            name = tuple(key)
            sums[name] = _plus(sums.get(name), amount)
    yield from found


def _sum_group(
    snapshot: Snapshot,
    account_id: str,
    columns: Key,
    window: Window,
    limits: Sequence[LimitTerms],
    now_ms: int,
) -> Iterator[tuple[LimitTerms, Mapping[Key, Amounts]]]:
    to_ms = None if window.end_ms == FOREVER_MS else window.end_ms
    whole, named, partly = _sorted_out(limits, columns)
    if len(named) <= NAMED_MAX and columns != _PLAN:
        partly, named = partly + named, []
    asked: dict[tuple[tuple[tuple[str, str], ...], int], Mapping[Key, Amounts]] = {}
    for limit in partly:
        where = _where(limit, columns)
        from_ms = counts_from(limit, window.start_ms, now_ms)
        name = (tuple(where.items()), from_ms)
        if name not in asked:
            asked[name] = snapshot.row_sums(account_id, columns, where, from_ms, to_ms)
        yield limit, _of_key(limit, asked[name]) if columns == _OF_KEYS else asked[name]
    by_start: dict[int, tuple[list[LimitTerms], list[LimitTerms]]] = {}
    for place, members in enumerate((whole, named)):
        for limit in members:
            by_start.setdefault(counts_from(limit, window.start_ms, now_ms), ([], []))[place].append(limit)
    summed: dict[Key, Amounts] = {}
    until_ms = to_ms
    for from_ms in sorted(by_start, reverse=True):
        if until_ms is None or from_ms < until_ms:
            more = snapshot.row_sums(account_id, columns, {}, from_ms, until_ms)
            summed = _added(summed, _by_plan(more) if columns == _PLAN else more)
            until_ms = from_ms
        on_each, on_one = by_start[from_ms]
        whole_keys = _with_children(summed) if on_one and columns == _OF_KEYS else summed
        for limit in on_each:
            yield limit, dict(summed) if len(by_start) > 1 else summed
        for limit in on_one:
            key = tuple(limit.scope_id.split(PART_SEPARATOR))
            found = whole_keys.get(key)
            if found is not None:
                yield limit, {key: found}


def _sorted_out(
    limits: Iterable[LimitTerms], columns: Key
) -> tuple[list[LimitTerms], list[LimitTerms], list[LimitTerms]]:
    """Limits on the whole scope or each of its things, on one of its things, and on each of a part."""
    whole, named, partly = [], [], []
    for limit in limits:
        if not columns or all(part == EACH for part in limit.scope_id.split(PART_SEPARATOR)):
            whole.append(limit)
        elif names_one(limit):
            named.append(limit)
        else:
            partly.append(limit)
    return whole, named, partly


def _of_key(limit: LimitTerms, sums: Mapping[Key, Amounts]) -> Mapping[Key, Amounts]:
    """Of a key's sums and its children's: what counts on the limit of the key itself."""
    if not sums or not names_one(limit):
        return sums
    total: dict[Key, Amounts] = {}
    for amount in sums.values():
        total = _added(total, {(limit.scope_id,): amount})
    return total


def _with_children(sums: Mapping[Key, Amounts]) -> dict[Key, Amounts]:
    """Each key's sums, its children's and theirs with them."""
    found: dict[Key, Amounts] = {}
    for (key_id,), amount in sums.items():
        for each in key_and_above(key_id):
            found = _added(found, {(each,): amount})
    return found


def _added(sums: dict[Key, Amounts], more: Mapping[Key, Amounts]) -> dict[Key, Amounts]:
    if not sums:
        return dict(more)
    for key, amount in more.items():
        sums[key] = _plus(sums.get(key), amount)
    return sums


def _plus(was: Amounts | None, more: Amounts) -> Amounts:
    if was is None:
        return more
    return Sums(
        was.spent_nano + more.spent_nano,
        was.doubted_nano + more.doubted_nano,
        was.input_tokens + more.input_tokens,
        was.output_tokens + more.output_tokens,
        was.requests + more.requests,
    )


def _by_plan(sums: Mapping[Key, Amounts]) -> dict[Key, Amounts]:
    """Sums by plan, of sums by the labels of its versions (`pro@3`): a limit on a plan counts them all."""
    found: dict[Key, Amounts] = {}
    for (label,), amount in sums.items():
        plan = (label.partition("@")[0],)
        found[plan] = _plus(found.get(plan), amount)
    return found


def _where(limit: LimitTerms, columns: Key) -> dict[str, str]:
    """The names that a limit fixes."""
    parts = limit.scope_id.split(PART_SEPARATOR)
    return {column: part for column, part in zip(columns, parts, strict=True) if part != EACH}
