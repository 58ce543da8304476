"""Batch: events that were recorded first and are counted on rows of limits afterwards. Pure.

An event that an application reports goes into the record at once, where its key is decided about; the ledger
hears of it later. Between the two its batch stands in the record as not counted. The step that counts a batch
also puts it into the outbox, and whoever records what is there takes the batch from that list: so at each
moment the record, the list and the outbox tell together which rows count it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from budgets.counted import Counted, counted_event
from budgets.limit import Attribution
from budgets.names import names_of
from metering.event import CostEvent

BATCH_MAX = 200
"""Events of one batch: what counting them costs the server stays below a few milliseconds."""

MARKER_MS = 7 * 86_400_000
"""How long a counted batch is remembered, from the last time that it was told."""


class BatchError(ValueError):
    """The document is not a batch; the text says why."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one account. `event_seq`: the record's last place when they were stored."""

    id: str
    account_id: str
    event_seq: int
    counted: tuple[Counted, ...]

    @property
    def marker(self) -> str:
        """The name of what says on the ledger that it was counted."""
        return f"{names_of(self.account_id).base}counted:{self.id}"

    def taken_away(self) -> list[Counted]:
        """What must be added to the record's sums so that they are without this batch."""
        return [
            replace(
                each,
                id=f"-{each.id}",
                spent_nano=-each.spent_nano,
                input_tokens=-each.input_tokens,
                output_tokens=-each.output_tokens,
                requests=-each.requests,
            )
            for each in self.counted
        ]


def batch_of(batch_id: str, account_id: str, event_seq: int, events: Sequence[CostEvent]) -> Batch:
    """The batch of these events of one account."""
    return Batch(batch_id, account_id, event_seq, tuple(map(counted_event, events)))


def encode_batch(batch: Batch) -> bytes:
    """The batch as JSON."""
    rows = [
        (
            *(each.id, each.started_ms, each.spent_nano, each.input_tokens, each.output_tokens),
            *(each.of.customer, each.of.workspace, each.of.feature, each.of.label, each.of.trace_id),
        )
        for each in batch.counted
    ]
    return orjson.dumps(
        {"id": batch.id, "account_id": batch.account_id, "event_seq": batch.event_seq, "counted": rows}
    )


def decode_batch(document: bytes | str) -> Batch:
    """The batch in a document. Raises BatchError."""
    try:
        fields = orjson.loads(document)
        account_id = _text(fields["account_id"])
        counted = tuple(_counted(account_id, row) for row in fields["counted"])
        return Batch(_text(fields["id"]), account_id, int(fields["event_seq"]), counted)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise BatchError(f"not a batch of counted events: {error!r}") from None


def batch_id(document: bytes | str) -> str:
    """The id of the batch in a document, for who needs no more of it: its events are not looked at. Raises
    BatchError."""
    try:
        return _text(orjson.loads(document)["id"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise BatchError(f"not a batch of counted events: {error!r}") from None


def _counted(account_id: str, row: Any) -> Counted:
    event_id, started_ms, spent, given, made, customer, workspace, feature, label, trace_id = row
    return Counted(
        id=_text(event_id),
        of=Attribution(
            account_id=account_id,
            key_id="",
            customer=customer,
            workspace=workspace,
            feature=feature,
            plan=label.partition("@")[0] if label else None,
            trace_id=trace_id,
            label=label,
        ),
        started_ms=int(started_ms),
        spent_nano=int(spent),
        doubted_nano=0,
        input_tokens=int(given),
        output_tokens=int(made),
        requests=1,
    )


def _text(value: Any) -> str:
    if type(value) is not str or not value:
        raise ValueError(f"expected a text, found {value!r:.80}")
    return value
