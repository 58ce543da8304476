"""An adjustment: what became known of an event's cost after it was closed. Pure.

The event is never edited. An adjustment says by how much its figures change, so that the corrected figures
are the event's plus all of its adjustments', in any order. It travels as JSON through the ledger's outbox,
like events, and counts where the event counts: on its day, its customer, its key. Amounts are whole
nano-USD, moments milliseconds since the epoch (UTC).

Words of `source` (plain strings, so that a reader accepts words of a later version):

    provider        the provider said later what it charges
    reconciliation  its usage export or invoice was compared
    operator        a person knows
    recomputed      a price was wrong and has been corrected
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import orjson

from metering.event import AMOUNT_MAX, CostEvent
from metering.ids import new_id


class AdjustmentError(ValueError):
    """The document is not an adjustment; the text says which field and what was found."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A correction of one event: amounts to add, which may be negative.

    `unknown_delta_nano` changes how much the true cost may lie above the known one. `unpriced_delta` is -1
    when the event's cost was not known and is from here on. `reason` is for people; `note` is what supports
    it, such as the provider's line. `unknown` keeps fields of a later version.
    """

    id: str
    event_id: str
    account_id: str
    at_ms: int
    source: str
    reason: str
    cost_delta_nano: int = 0
    doubted_delta_nano: int = 0
    unknown_delta_nano: int = 0
    unpriced_delta: int = 0
    note: str | None = None
    unknown: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Corrected:
    """An event's figures with its adjustments. `known_nano` is the known part of the cost."""

    known_nano: int
    doubted_nano: int
    unknown_nano: int
    unpriced: int

    @property
    def cost_nano(self) -> int | None:
        """The whole cost; None while it is not known."""
        return None if self.unpriced > 0 else self.known_nano


def corrected(event: CostEvent, adjustments: Iterable[Adjustment]) -> Corrected:
    """The event's figures after these adjustments of it."""
    known, doubted, unknown = event.known_nano, event.doubted_nano, event.unknown_nano
    unpriced = 1 if event.cost_nano is None else 0
    for each in adjustments:
        known += each.cost_delta_nano
        doubted += each.doubted_delta_nano
        unknown += each.unknown_delta_nano
        unpriced += each.unpriced_delta
    return Corrected(known, doubted, unknown, unpriced)


def correction(
    event: CostEvent,
    earlier: Iterable[Adjustment],
    *,
    cost_nano: int | None,
    source: str,
    reason: str,
    at_ms: int,
    note: str | None = None,
) -> Adjustment | None:
    """The adjustment after which the event cost `cost_nano` and nothing is in doubt; None if that is so.

    `earlier` are all adjustments of the event until now. `cost_nano` None lets the cost stand as it is and
    ends the doubt alone; a cost that is not known then remains so.
    """
    now = corrected(event, earlier)
    stands = cost_nano is None
    made = Adjustment(
        id=new_id(),
        event_id=event.id,
        account_id=event.account_id,
        at_ms=at_ms,
        source=source,
        reason=reason,
        cost_delta_nano=0 if cost_nano is None else cost_nano - now.known_nano,
        doubted_delta_nano=-now.doubted_nano,
        unknown_delta_nano=0 if stands and now.unpriced else -now.unknown_nano,
        unpriced_delta=0 if stands else -now.unpriced,
        note=note,
    )
    return made if any(deltas(made)) else None


def deltas(adjustment: Adjustment) -> tuple[int, int, int, int]:
    """What it adds to each of metering.rollup.CORRECTED, in that order."""
    return (
        adjustment.cost_delta_nano,
        adjustment.doubted_delta_nano,
        adjustment.unknown_delta_nano,
        adjustment.unpriced_delta,
    )


def encode_adjustment(adjustment: Adjustment) -> bytes:
    """The adjustment as JSON; deltas of 0 and an absent note are left out."""
    document = dict(adjustment.unknown)
    for name in _TYPES:
        value = getattr(adjustment, name)
        if value is not None and (value != 0 or name not in _DELTAS):
            document[name] = value
    return orjson.dumps(document)


def decode_adjustment(source: bytes | str) -> Adjustment:
    """The adjustment in a JSON document, of this version or a later one. Raises AdjustmentError."""
    try:
        document = orjson.loads(source)
    except orjson.JSONDecodeError as error:
        raise AdjustmentError(f"not valid JSON: {error}") from None
    if type(document) is not dict:
        raise AdjustmentError(f"adjustment: expected an object, found {type(document).__name__}")
    known: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, value in document.items():
        expected = _TYPES.get(name)
        if expected is None:
            unknown[name] = value
        elif type(value) is expected:
            known[name] = value
        elif value is not None:
            raise AdjustmentError(f"adjustment.{name}: expected {expected.__name__}, found {value!r:.80}")
        if expected is int and value is not None and not -AMOUNT_MAX <= value <= AMOUNT_MAX:
            raise AdjustmentError(f"adjustment.{name}: {value} is beyond what can be held ({AMOUNT_MAX})")
    for name in _REQUIRED:
        if known.get(name) in (None, ""):
            raise AdjustmentError(f"adjustment.{name}: missing")
    return Adjustment(**known, unknown=unknown)


_DELTAS = frozenset({"cost_delta_nano", "doubted_delta_nano", "unknown_delta_nano", "unpriced_delta"})
_REQUIRED = ("id", "event_id", "account_id", "at_ms", "source", "reason")
_TYPES: dict[str, type] = {
    each.name: int if each.name in _DELTAS or each.name == "at_ms" else str
    for each in fields(Adjustment)
    if each.name != "unknown"
}
