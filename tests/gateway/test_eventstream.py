"""Amazon's event-stream framing, against botocore's reader."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.eventstream import (
    HEADERS_BYTES_MAX,
    Message,
    events,
    last_boundary,
    read_message,
    write_message,
)

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings" / "bedrock.jsonl"
EVENT = {":event-type": "contentBlockDelta", ":content-type": "application/json", ":message-type": "event"}


def header(name: str, kind: int, value: bytes = b"") -> bytes:
    return bytes([len(name.encode())]) + name.encode() + bytes([kind]) + value


def text(value: str) -> bytes:
    return struct.pack(">H", len(value.encode())) + value.encode()


def framed(headers: bytes, payload: bytes) -> bytes:
    begin = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = begin + struct.pack(">I", crc32(begin)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def message(headers: dict[str, str], payload: bytes) -> bytes:
    return framed(b"".join(header(name, 7, text(value)) for name, value in headers.items()), payload)


def read(stream: bytes, cuts: Sequence[int] = ()) -> tuple[list[Message], bool]:
    """(the messages up to the first that is damaged, whether all of it was read), as a tap reads them."""
    held, found = b"", []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        held += stream[start:stop]
        cut = last_boundary(held)
        for event in events(held[:cut]):
            if (one := read_message(event)) is None:
                return found, False
            found.append(one)
        held = held[cut:]
    return found, held == b""


VALUES = st.one_of(
    st.tuples(st.sampled_from([0, 1]), st.just(b"")),
    st.tuples(st.just(2), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just(3), st.binary(min_size=2, max_size=2)),
    st.tuples(st.just(4), st.binary(min_size=4, max_size=4)),
    st.tuples(st.sampled_from([5, 8]), st.binary(min_size=8, max_size=8)),
    st.tuples(st.just(6), st.binary(max_size=20).map(lambda raw: struct.pack(">H", len(raw)) + raw)),
    st.tuples(st.just(7), st.text(max_size=20).map(text)),
    st.tuples(st.just(9), st.binary(min_size=16, max_size=16)),
)
NAMES = st.sampled_from([":event-type", ":message-type", ":exception-type", ":error-code", "a", "größe"])
MESSAGES = st.builds(
    lambda headers, payload: framed(
        b"".join(header(name, kind, value) for name, (kind, value) in headers.items()), payload
    ),
    st.dictionaries(NAMES, VALUES, max_size=4),
    st.binary(max_size=60),
)


@given(st.lists(MESSAGES, max_size=5).map(b"".join), st.data())
def test_any_split_gives_the_messages_that_botocore_reads(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    oracle = EventStreamBuffer()
    oracle.add_data(stream)
    expected = [(each.headers, each.payload) for each in oracle]
    found, whole = read(stream, cuts)
    assert [(dict(each.head.values), each.payload) for each in found] == expected
    assert whole


@given(st.lists(MESSAGES, min_size=1, max_size=3).map(b"".join), st.data())
def test_a_changed_byte_is_noticed_and_never_a_crash(stream: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(stream) - 1))
    changed = bytearray(stream)
    changed[at] ^= data.draw(st.integers(1, 255))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    expected, _ = read(stream)
    found, whole = read(bytes(changed), cuts)
    assert not whole
    assert found == expected[: len(found)]
    assert len(found) < len(expected)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
def test_noise_never_raises(noise: bytes, cuts: list[int]) -> None:
    found, whole = read(noise, sorted(min(cut, len(noise)) for cut in cuts))
    assert found == []
    assert whole == (noise == b"")


@given(st.lists(MESSAGES, max_size=4), st.binary(max_size=80))
def test_no_byte_is_lost(messages: list[bytes], noise: bytes) -> None:
    block = b"".join(messages) + noise
    assert b"".join(events(block)) == block
    assert b"".join(messages) == b"".join(list(events(block))[: len(messages)])


@given(st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=40), max_size=4), st.binary())
def test_what_is_written_is_what_botocore_reads(headers: dict[str, str], payload: bytes) -> None:
    oracle = EventStreamBuffer()
    oracle.add_data(write_message(headers, payload))
    (told,) = oracle
    assert (told.headers, told.payload) == (headers, payload)


def test_vectors_of_the_protocol_s_own_tests() -> None:
    """From https://github.com/boto/botocore/blob/develop/tests/unit/test_eventstream.py: no headers and no
    payload, and one integer header."""
    empty = bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")
    integer = b"\0\0\0+\0\0\0\x0e4\x8b\xec{\x08event-id\x04\0\0\xa0\x0c{'foo':'bar'}\xd3\x89\x02\x85"
    found, whole = read(empty + integer)
    assert [(dict(each.head.values), each.payload) for each in found] == [
        ({}, b""),
        ({"event-id": 40972}, b"{'foo':'bar'}"),
    ]
    assert whole


def test_exceptions_and_errors_are_told_from_events() -> None:
    throttled = {":exception-type": "throttlingException", ":message-type": "exception"}
    broken = {":error-code": "InternalServerError", ":error-message": "no", ":message-type": "error"}
    found, _ = read(message(EVENT, b"{}") + message(throttled, b'{"message":"slow"}') + message(broken, b""))
    assert [(each.head.type, each.head.name, each.head.failed) for each in found] == [
        ("event", "contentBlockDelta", False),
        ("exception", "throttlingException", True),
        ("error", "InternalServerError", True),
    ]


def test_equal_headers_are_read_once() -> None:
    first, second = read(message(EVENT, b"1") + message(EVENT, b"2"))[0]
    assert first.head is second.head


@pytest.mark.parametrize(
    ("headers", "payload"),
    [
        (header("a", 10), b""),
        (header("a", 4, b"\0\0"), b"enough bytes follow in the payload"),
        (header("a", 7, b"\0\xff" + b"short"), b"p" * 300),
        (header("a", 7, struct.pack(">H", 1) + b"\xff"), b""),
        (header("a", 0) + header("a", 1), b""),
        (b"\x20abc", b"p" * 64),
        (header("a", 0) + b"\x00", b"p" * 64),
        (header("a" * 200, 7, text("x" * 600)) + b"\x01", b""),
    ],
)
def test_headers_that_break_their_format_are_a_fault(headers: bytes, payload: bytes) -> None:
    found, whole = read(message(EVENT, b"{}") + framed(headers, payload))
    assert len(found) == 1
    assert not whole


@pytest.mark.parametrize(
    ("length", "headers"), [(0, 0), (15, 0), (16, 1), (40, 25), (1 << 31, HEADERS_BYTES_MAX + 1)]
)
def test_lengths_that_contradict_each_other_are_a_fault(length: int, headers: int) -> None:
    begin = struct.pack(">II", length, headers)
    found, whole = read(begin + struct.pack(">I", crc32(begin)) + b"\0" * 40)
    assert (found, whole) == ([], False)


def test_a_stream_that_ends_inside_a_message_is_not_whole() -> None:
    one = message(EVENT, b'{"delta":1}')
    for end in range(1, len(one)):
        found, whole = read(one + one[:end])
        assert (len(found), whole) == (1, False)


def test_recorded_answers_come_out_of_frames_as_they_went_in() -> None:
    """The recordings have whole answers only, so their parts are framed here as ConverseStream's are."""
    if not RECORDINGS.is_file():
        pytest.skip(f"no recordings at {RECORDINGS}")
    checked = 0
    for line in RECORDINGS.read_text().splitlines():
        exchange = json.loads(line)
        answer = exchange.get("response")
        if exchange["status"] != 200 or not isinstance(answer, dict) or "usage" not in answer:
            continue
        parts = [
            ("messageStart", {"role": "assistant"}),
            *(("contentBlockDelta", {"delta": part}) for part in answer["output"]["message"]["content"]),
            ("messageStop", {"stopReason": answer["stopReason"]}),
            ("metadata", {"usage": answer["usage"], "metrics": answer["metrics"]}),
        ]
        stream = b"".join(
            message(EVENT | {":event-type": name}, json.dumps(payload).encode()) for name, payload in parts
        )
        for step in (7, 1400):
            found, whole = read(stream, list(range(step, len(stream), step)))
            assert [(each.head.name, json.loads(each.payload)) for each in found] == parts
            assert whole
        checked += 1
    assert checked > 50
