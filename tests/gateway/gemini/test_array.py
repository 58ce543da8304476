"""Google's array, in whichever way it is written and wherever the network cuts it: the same reading."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gateway.dialects import SURFACES
from gateway.dialects.gemini_array import event_data, events, last_boundary
from gateway.forwarding.tap import StreamTap

ARRAY = SURFACES["generateContent.array"]
HOSTILE = [
    'one, "}] {',
    '漢字 🎉 \\" \n}\n,\r\n{ } ]',
    '\\\\"}]}\n]\n}\n,\r\n{\n  "usageMetadata": {}',
    "{{{[[",
]
"""Texts that look like the ends and beginnings of elements."""
WRITERS: dict[str, Callable[[Any], bytes]] = {
    "google": lambda element: orjson.dumps(element, option=orjson.OPT_INDENT_2),
    "compact": orjson.dumps,
    "spaced, in ASCII": lambda element: json.dumps(element).encode(),
    "not indented": lambda element: json.dumps(element, indent=0).encode(),
    "tabs": lambda element: json.dumps(element, indent="\t", ensure_ascii=False).encode(),
    "CRLF": lambda element: json.dumps(element, indent=1).replace("\n", "\r\n").encode(),
}
BETWEEN = [b"\n,\r\n", b",", b"\n,\n", b" ,\r\n"]
ENDS = [b"\n]", b"]\r\n"]
FEW = [
    ("google", b"\n,\r\n", b"\n]"),
    ("compact", b"\n,\r\n", b"]\r\n"),
    ("compact", b",", b"]\r\n"),
    ("not indented", b",", b"\n]"),
]
EVERY = [
    pytest.param(*style, marks=() if style in FEW else pytest.mark.slow)
    for style in itertools.product(WRITERS, BETWEEN, ENDS)
]


def element(text: str, made: int, *parts: Any, **more: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": 7, "candidatesTokenCount": made}
    candidate = {"content": {"parts": [{"text": text}, *parts]}, **more}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "g"}


ARGUMENTS = {"a": [{"b": {"c": {"d": [{}, {"e": "}"}]}}}, [[], [{}, "]"]]], "x": -1.5e3}
ELEMENTS = [
    element(HOSTILE[0], 3, {"functionCall": {"name": "f", "args": ARGUMENTS}}),
    *(element(text, 6) for text in HOSTILE[1:-1]),
    element(HOSTILE[-1], 11, finishReason="STOP"),
]


def written(writer: str, between: bytes, end: bytes) -> bytes:
    data = b"[" + between.join(map(WRITERS[writer], ELEMENTS)) + end
    assert orjson.loads(data) == ELEMENTS
    return data


def read(data: bytes, cuts: list[int]) -> tuple[Any, ...]:
    """What a tap learned. All that it passed on the way were whole elements."""
    tap, passed = StreamTap(ARRAY, strip_usage=True), b""
    for start, stop in itertools.pairwise([0, *cuts, len(data)]):
        came = tap.feed(data[start:stop])
        passed += came
        if came and not (so_far := passed.rstrip()).endswith(b"]"):
            assert orjson.loads(so_far + b"]")
    assert passed + tap.end() == data
    tap.conclude()
    return tap.done, tap.error, tap.reasons, tap.reading, tap.text()


@pytest.mark.parametrize(("writer", "between", "end"), EVERY)
def test_any_cut_gives_the_same_reading(writer: str, between: bytes, end: bytes) -> None:
    data = written(writer, between, end)
    whole = read(data, [])
    done, error, reasons, reading, text = whole
    assert (done, error, reasons, reading.model) == (True, None, {"STOP"}, "g")
    assert (reading.usage.input_tokens, reading.usage.output_tokens) == (7, 11)
    assert all(said in text for said in HOSTILE)
    for cut in range(len(data) + 1):
        assert read(data, [cut]) == whole, cut
    for size in (1, 2, 5, 64, 700):
        assert read(data, list(range(size, len(data), size))) == whole, size


@pytest.mark.parametrize(("writer", "between", "end"), EVERY)
def test_an_element_passes_as_soon_as_it_is_whole(writer: str, between: bytes, end: bytes) -> None:
    data = written(writer, between, end)
    pieces = [WRITERS[writer](each) for each in ELEMENTS]
    at = 0
    for number, piece in enumerate(pieces):
        at = data.index(piece, at) + len(piece)
        assert last_boundary(data[:at]) == at, number
        assert last_boundary(data[: at - 1]) < at - len(piece) + 1, number
        assert [orjson.loads(found) for each in events(data[:at]) if (found := event_data(each))] == (
            ELEMENTS[: number + 1]
        )


@pytest.mark.parametrize("behind", [b"", b"\n", b"\r\n", b" \n "])
@pytest.mark.parametrize("writer", ["google", "compact", "CRLF"])
def test_a_comma_waits_for_its_element(writer: str, behind: bytes) -> None:
    """Where the stream breaks off behind it, an error follows that brings a comma of its own."""
    for before in (b"[", b",\r\n", b"\n,\r\n"):
        whole = before + WRITERS[writer](ELEMENTS[1]) + behind
        for comma in (b",", b",\r\n", b", \n"):
            assert len(whole.rstrip()) <= last_boundary(whole + comma) <= len(whole)
            assert last_boundary(whole + comma + b'{"a"') <= len(whole)
    assert last_boundary(b",\r\n") == last_boundary(b"\n") == last_boundary(b"[\n") == 0


def test_elements_deeper_than_any_of_googles_are_found_one_brace_at_a_time() -> None:
    deep: dict[str, Any] = {"text": HOSTILE[1]}
    for _ in range(40):
        deep = {"a": [deep, "}"]}
    raw = orjson.dumps(deep)
    for between in BETWEEN:
        data = b"[" + between.join([raw] * 3) + b"\n]"
        assert last_boundary(data[: data.rindex(b"}")]) == 1 + len(raw + between + raw)
        assert [orjson.loads(found) for each in events(data) if (found := event_data(each))] == [deep] * 3


@pytest.mark.parametrize("writer", ["google", "compact"])
def test_a_picture_that_is_still_coming_holds_no_end(writer: str) -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "A" * 3_000_000}}
    data = b"[" + WRITERS[writer]({"candidates": [{"content": {"parts": [{"text": "}"}, picture]}}]})
    assert last_boundary(data[:-40]) == 0
    assert last_boundary(data) == len(data)


def test_an_element_that_is_no_json_for_us_passes_too() -> None:
    """Half of an emoji, say, which strict readers refuse."""
    for odd in (b'{"text": "\\ud83d"}', b'{"logprob": NaN}', b'{"text": "\xff"}'):
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(odd)
        assert last_boundary(b"[" + odd) == 1 + len(odd)
        assert last_boundary(b"[" + odd + b"\n,\r\n" + odd + b"\n]") == 7 + 2 * len(odd)
        assert list(events(b"[" + odd + b"," + odd)) == [b"[" + odd, b"," + odd]
