"""Batches as they travel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from budgets.batch import BatchError, batch_id, batch_of, decode_batch, encode_batch
from budgets.limit import Attribution
from metering.event import encode
from tests.budgets.bookkeeping import event_for

OF = Attribution("default", "", "acme", feature="chat")


def test_batches_travel_as_json() -> None:
    whole = Attribution("default", "", "acme", "w", "chat", "pro", "t", None, "pro@3")
    events = [event_for(OF, 1), event_for(whole, 5, input_tokens=7, output_tokens=2, plan="pro@3+15")]
    batch = batch_of("b1", "default", 7, [replace(event, key_id=None) for event in events])
    assert decode_batch(encode_batch(batch)) == batch
    assert batch_id(encode_batch(batch)) == "b1"
    assert (batch.counted[1].of.plan, batch.counted[1].of.label) == ("pro", "pro@3+15")


def test_what_is_taken_away_is_what_counts() -> None:
    batch = batch_of("b1", "default", 7, [event_for(OF, 9, input_tokens=4, output_tokens=2)])
    (counted,), (taken,) = batch.counted, batch.taken_away()
    assert (taken.spent_nano, taken.input_tokens, taken.output_tokens, taken.requests) == (-9, -4, -2, -1)
    assert (taken.of, taken.started_ms) == (counted.of, counted.started_ms)
    assert taken.id != counted.id


@pytest.mark.parametrize(
    "document",
    [
        b"{",
        b"[]",
        b'{"id":"b"}',
        b"\xff",
        encode(event_for(OF, 1)),
        b'{"id":"","account_id":"a","event_seq":1,"counted":[]}',
    ],
)
def test_what_is_no_batch_is_said_to_be_none(document: bytes) -> None:
    with pytest.raises(BatchError):
        decode_batch(document)


@pytest.mark.parametrize("document", [b"{", b"[]", b"{}", b"\xff", b'{"id":""}', b'{"id":1}'])
def test_what_has_no_id_is_no_batch_either(document: bytes) -> None:
    with pytest.raises(BatchError):
        batch_id(document)
