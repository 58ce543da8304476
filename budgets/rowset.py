"""RowSet: the rows that one kind of request counts on, laid out as the ledger's scripts take them. Pure.

Worked out once for each combination of limits and attribution and kept until one of its windows ends, so
that opening a request copies prepared lists instead of working out names.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from operator import attrgetter
from struct import Struct

from budgets.limit import (
    LIMITS_MAX,
    Attribution,
    LimitTerms,
    applies,
    row_field,
    scope_key,
)
from budgets.names import names_of, names_on
from budgets.window import CONCURRENCY_WINDOW, FOREVER_MS, RATE_WINDOW, Window, window_of

METERS = {
    "money": "m",
    "tokens": "t",
    "input_tokens": "i",
    "output_tokens": "o",
    "requests": "r",
    "concurrency": "c",
    "requests_per_minute": "q",
    "tokens_per_minute": "k",
}
"""What a row counts, as the letter by which scripts and open records call it."""
_ENFORCEMENT = {"hard": "h", "soft": "s", "shadow": "w"}
_NEVER, _FROM_LAST_USE = 0, -1
_BETWEEN = "\x1e"
"""Between the parts of a record's rows; no id can contain it."""
SETS_MAX = 20_000
ACCRUED = "acc:"
"""Values of windows of what accumulates begin so; then come the window's end (ms), for whom, and the row."""


class TooManyLimits(Exception):
    """More limits apply to one request than the ledger checks in one step."""


def pack_numbers(numbers: Sequence[int]) -> bytes:
    """int64, little-endian, as the scripts unpack them."""
    return _numbers(len(numbers)).pack(*numbers)


@lru_cache(maxsize=256)
def _numbers(count: int) -> Struct:
    return Struct(f"<{count}q")


@dataclass(frozen=True, slots=True)
class RowSet:
    """Rows in the order of the scripts: sorted by the hash that holds them.

    `hashes`: names of those hashes; `ends`: for each, when its window ends (ms; 0 never, -1 it expires 40
    days after its last use). `shape`: three characters a row, as open.lua describes. `ids` and `fields`:
    names of each row's value and counters. `meters`: the letters in use. `record`: all of it as open records
    keep it. `start_ms`, `end_ms`: the moments in which every row's window is the current one.

    The rest is worked out of these, as the scripts take it: `opening` and `closing`, the numbers that begin
    theirs; `expiries`, those that end open.lua's; `opened`, `closed`, the names that end their arguments;
    `layout`, what close.lua reads of the rows; `asks_values`, whether it has to look at the limits again.
    """

    shard: str
    hashes: tuple[str, ...]
    ends: tuple[int, ...]
    shape: str
    ids: tuple[str, ...]
    fields: tuple[str, ...]
    meters: str
    thresholds: str
    record: str
    start_ms: int
    end_ms: int
    limits: tuple[LimitTerms, ...]
    hard_meters: frozenset[str]
    opening: bytes = field(init=False)
    expiries: bytes = field(init=False)
    opened: tuple[str, ...] = field(init=False)
    closing: bytes = field(init=False)
    closed: tuple[str, ...] = field(init=False)
    layout: str = field(init=False)
    asks_values: bool = field(init=False)

    def __post_init__(self) -> None:
        count, both = len(self.fields), (*self.ids, *self.fields)
        plain = self.ids == self.fields
        asks = bool(self.thresholds) or METERS["tokens_per_minute"] in self.meters
        # All rows of a trace lie in one hash, the only one that expires after its last use.
        used = self.ends.index(_FROM_LAST_USE) + 1 if _FROM_LAST_USE in self.ends else 0
        opening = (self.start_ms, self.end_ms, count, 0 if plain else count, used)
        closing = (count, len(self.meters), 0 if plain or not asks else count)
        worked_out = {
            "opening": pack_numbers(opening),
            "expiries": pack_numbers([max(end, _NEVER) for end in self.ends]),
            "opened": self.fields if plain else both,
            "closing": pack_numbers(closing),
            "closed": self.fields if plain or not asks else both,
            "layout": self.shape + self.meters + self.thresholds,
            "asks_values": asks,
        }
        for name, value in worked_out.items():
            object.__setattr__(self, name, value)

    @property
    def enforced(self) -> bool:
        """True when some row can refuse."""
        return bool(self.hard_meters)

    def covers(self, moment_ms: int) -> bool:
        """True when every window covers the moment."""
        return self.start_ms <= moment_ms < self.end_ms


@dataclass(frozen=True, slots=True)
class Row:
    """One row's place and kind: what seeding, reconciling and correcting need to know of it."""

    hash: str
    field: str
    limit: LimitTerms
    window: Window

    @property
    def value_field(self) -> str:
        """The name of its value in force. What accumulates has one of its own in each window."""
        carry = self.limit.carry
        if carry is None:
            return self.limit.value_id
        return f"{ACCRUED}{self.window.end_ms}:{carry[1]}:{self.field}"


def place_of(limit: LimitTerms, key: str, account_id: str, now_ms: int) -> Row:
    """Where the limit's row for this scope key lies at a moment."""
    names = names_of(account_id)
    window = window_of(limit, now_ms)
    if limit.scope == "trace":  # whatever it counts: traces are many, and their rows must not stay
        where = f"{names.trace}{account_id}:{key}"
    elif limit.window == RATE_WINDOW:
        where = names.rates
    elif limit.window == CONCURRENCY_WINDOW:
        where = names.now
    else:
        where = names.window + window.id
    return Row(where, row_field(limit, key), limit, window)


def rows_of(limits: Sequence[LimitTerms], of: Attribution, now_ms: int) -> list[Row]:
    """The rows that a request of this attribution counts on when it begins at `now_ms`."""
    rows = []
    for limit in limits:
        if applies(limit, of):
            key = scope_key(limit.scope, of)
            assert key is not None
            rows.append(place_of(limit, key, of.account_id, now_ms))
    return rows


def build_row_set(limits: Sequence[LimitTerms], of: Attribution, now_ms: int) -> RowSet:
    """The set for requests of this attribution. TooManyLimits when more than 16 apply."""
    rows = sorted(rows_of(limits, of, now_ms), key=lambda row: row.hash)
    if len(rows) > LIMITS_MAX:
        raise TooManyLimits(
            f"{len(rows)} limits apply to this request, and at most {LIMITS_MAX} can; clear some of: "
            + ", ".join(row.limit.id for row in rows)
        )
    names = names_of(of.account_id)
    hashes = tuple(dict.fromkeys(row.hash for row in rows))
    letters = [METERS[row.limit.kind] for row in rows]
    shape = "".join(
        chr(48 + hashes.index(row.hash)) + letter + _ENFORCEMENT[row.limit.enforcement]
        for row, letter in zip(rows, letters, strict=True)
    )
    fields = tuple(row.field for row in rows)
    relative = [name.removeprefix(names.base) for name in hashes]
    ends = tuple(_end_of(next(row for row in rows if row.hash == name)) for name in hashes)
    start_ms = max((row.window.start_ms for row in rows), default=0)
    end_ms = min((row.window.end_ms for row in rows), default=FOREVER_MS)
    return RowSet(
        shard=names.shard,
        hashes=hashes,
        ends=ends,
        shape=shape,
        ids=tuple(row.value_field for row in rows),
        fields=fields,
        meters="".join(dict.fromkeys(("m", *letters))),  # money always: an open record tells what it may cost
        thresholds=" ".join(
            f"{place}:{','.join(map(str, row.limit.thresholds))}"
            for place, row in enumerate(rows, 1)
            if row.limit.thresholds
        ),
        record=_BETWEEN.join((shape, str(len(relative)), *relative, *fields)) if rows else "",
        start_ms=start_ms,
        end_ms=end_ms,
        limits=tuple(row.limit for row in rows),
        hard_meters=frozenset(
            letter for row, letter in zip(rows, letters, strict=True) if row.limit.enforcement == "hard"
        ),
    )


def read_record(shard: str, rows: str, meters: str) -> RowSet:
    """The rows that an open record says it holds on. ValueError: the text is none.

    What only an opening needs (ends, thresholds, limits) is not in it.
    """
    if not rows:
        return replace(NO_ROWS, shard=shard, meters=meters)
    shape, _, parts = rows.partition(_BETWEEN)
    count, *rest = parts.split(_BETWEEN)
    hashes, fields = rest[: len(rest) - len(shape) // 3], rest[len(rest) - len(shape) // 3 :]
    if not fields or count != str(len(hashes)):
        raise ValueError(f"not the rows of an open record: {rows!r}")
    base = names_on(shard).base
    return RowSet(
        shard=shard,
        hashes=tuple(base + name for name in hashes),
        ends=(_NEVER,) * len(hashes),
        shape=shape,
        ids=tuple(field.partition(":")[0] for field in fields),
        fields=tuple(fields),
        meters=meters,
        thresholds="",
        record=rows,
        start_ms=0,
        end_ms=FOREVER_MS,
        limits=(),
        hard_meters=frozenset(shape[at + 1] for at in range(0, len(shape), 3) if shape[at + 2] == "h"),
    )


_PARTS = {
    "account": ("account_id",),
    "key": ("key_id",),
    "workspace": ("customer", "workspace"),
    "customer_feature": ("customer", "feature"),
    "trace": ("trace_id",),
}


def concern_of(scopes: Iterable[str]) -> Callable[[Attribution], Hashable]:
    """What of an attribution decides which rows limits of these scopes have."""
    parts = sorted({part for scope in scopes for part in _PARTS.get(scope, (scope,))})
    return attrgetter(*parts) if parts else lambda of: None


NO_ROWS = RowSet("00", (), (), "", (), (), "", "", "", 0, FOREVER_MS, (), frozenset())


class RowSets:
    """Sets by what they were made of, each until one of its windows ends."""

    def __init__(self, *, sets_max: int = SETS_MAX) -> None:
        self._sets_max = sets_max
        self._concerns: OrderedDict[Hashable, Callable[[Attribution], Hashable]] = OrderedDict()
        self._known: OrderedDict[Hashable, RowSet] = OrderedDict()

    def of(
        self, lists: Sequence[tuple[LimitTerms, ...]], origin: Hashable, of: Attribution, now_ms: int
    ) -> RowSet:
        """The set for these lists of limits; `origin` tells them from any others.

        Requests share a set when they differ only in what no limit is on, such as their trace.
        """
        concern = self._concerns.get(origin)
        if concern is None:
            concern = self._concerns[origin] = concern_of(limit.scope for each in lists for limit in each)
            if len(self._concerns) > self._sets_max:
                self._concerns.popitem(last=False)
        name = (origin, concern(of))
        found = self._known.get(name)
        if found is not None and found.covers(now_ms):
            self._known.move_to_end(name)
            return found
        made = build_row_set([limit for each in lists for limit in each], of, now_ms)
        self._known[name] = made
        self._known.move_to_end(name)
        if len(self._known) > self._sets_max:
            self._known.popitem(last=False)
        return made


def _end_of(row: Row) -> int:
    if row.limit.scope == "trace":
        return _FROM_LAST_USE
    return _NEVER if row.window.end_ms == FOREVER_MS else row.window.end_ms
