"""Bodies that nobody foresaw, on every surface: a clear refusal or an answer, never a fault of ours.

pytest tests/gateway/test_surfaces_fuzz.py -m "slow or not slow"
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.stack import Stack, wait_until

FEW, MANY = 25, 1_500
BASES: dict[str, list[dict[str, Any]]] = {
    "/chat/completions": [
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3},
        {
            "model": "gpt-4o-mini",
            "stream": True,
            "stream_options": {"include_usage": True},
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "Be brief"}]},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "x"},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]},
            ],
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
            "prediction": {"type": "content", "content": "x"},
            "metadata": {"a": "b"},
            "modalities": ["text"],
            "n": 1,
        },
    ],
    "/completions": [
        {"model": "gpt-3.5-turbo-instruct", "prompt": "Hi", "max_tokens": 3, "n": 1, "best_of": 1},
        {"model": "babbage-002", "prompt": [[1, 2], [3]], "stream": True, "stream_options": {}, "echo": True},
    ],
    "/embeddings": [
        {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 4},
        {"model": "text-embedding-3-small", "input": [[1, 2]]},
    ],
    "/moderations": [
        {"model": "omni-moderation-latest", "input": [{"type": "text", "text": "a"}]},
        {"input": "a"},
    ],
}  # fmt: skip
FINE = {200, 400, 404, 413, 422}
WORDS = st.sampled_from(
    ["", "a", "model", "text", "user", "漢🎉", "\ud800", "\x00", "x" * 300, "true", "-1", "NaN"]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    WORDS,
    st.sampled_from([0, 1, 2**63, 1e308]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path in a document."""
    items = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    for name, value in items:
        yield (*path, name)
        yield from places(value, (*path, name))


@st.composite
def bodies(draw: st.DrawFn, surface: str) -> bytes:
    """A request with some values replaced or added; or nothing like a request; or no JSON at all."""
    kind = draw(st.sampled_from(["changed"] * 8 + ["any", "bytes"]))
    if kind == "any":
        return json.dumps(draw(VALUES)).encode()
    document = copy.deepcopy(draw(st.sampled_from(BASES[surface])))
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(sorted(places(document), key=repr)))
        target = document
        for step in path[:-1]:
            target = target[step]
        if draw(st.booleans()):
            target[path[-1]] = draw(VALUES)
        elif isinstance(target, dict):
            target[draw(WORDS)] = draw(VALUES)
        else:
            target.append(draw(VALUES))
    raw = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if kind == "bytes":
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=4)) + raw[at + draw(st.integers(0, 4)) :]
    return raw


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.base_url, timeout=60) as client:
        yield client


def throw(stack: Stack, http: httpx2.Client, surface: str, count: int) -> None:
    """So many bodies at one surface; then the books must balance."""
    secret = stack.key(limits={"month": 10**15})
    free = stack.key()
    answered: list[str] = []
    seen: set[int] = set()

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(raw=bodies(surface), hard=st.booleans())
    def one(raw: bytes, hard: bool) -> None:
        answer = http.post(
            surface,
            content=raw,
            headers={
                "Authorization": f"Bearer {secret if hard else free}",
                "Content-Type": "application/json",
            },
        )
        seen.add(answer.status_code)
        assert answer.status_code in FINE, (answer.status_code, answer.text[:500])
        if answer.status_code == 200:
            answered.append(answer.headers["x-request-id"])
            return
        error = answer.json()["error"]
        assert error["message"], raw
        assert error["type"], raw
        assert answer.headers["x-should-retry"] == "false"

    one()
    assert {200, 400} <= seen, "the bodies were all alike"
    wait_until(lambda: stack.open_requests() == 0)
    events = [event.id for event in stack.events()]
    assert len(events) == len(set(events))
    assert set(answered) <= set(events), "an answer without its event"
    assert all(row.get("reserved", 0) == 0 for row in stack.counters(secret).values())


@pytest.mark.parametrize("surface", BASES)
def test_no_body_is_a_fault_of_ours(stack: Stack, http: httpx2.Client, surface: str) -> None:
    throw(stack, http, surface, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("surface", BASES)
def test_none_of_many_bodies_is_a_fault_of_ours(stack: Stack, http: httpx2.Client, surface: str) -> None:
    throw(stack, http, surface, MANY)


@pytest.mark.parametrize("surface", BASES)
@pytest.mark.parametrize(
    "raw", [b"", b"null", b"[]", b"{}", b'{"model":{}}', b"[" * 50_000, b'{"a":' * 2_000, b"\x00" * 100]
)
def test_what_is_no_request_is_told_so(stack: Stack, http: httpx2.Client, surface: str, raw: bytes) -> None:
    answer = http.post(surface, content=raw, headers={"Authorization": f"Bearer {stack.key()}"})
    assert answer.status_code == 400
    assert orjson.loads(answer.content)["error"]["code"]
