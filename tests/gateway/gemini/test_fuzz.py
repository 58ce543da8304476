"""Bodies that nobody foresaw, on Google's surfaces: a clear refusal or an answer with its event."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.gateway.gemini.conftest import FLASH
from tests.gateway.test_surfaces_fuzz import FINE, VALUES, WORDS, places
from tests.stack import Stack, wait_until

pytestmark = pytest.mark.wide
WHOLE = {
    "contents": [
        {
            "role": "user",
            "parts": [{"text": "Hi"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
        },
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"a": 1}}}]},
    ],
    "systemInstruction": {"parts": [{"text": "Be brief"}]},
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]}],
    "generationConfig": {"maxOutputTokens": 400, "candidateCount": 1, "responseModalities": ["TEXT"]},
}
BASES: dict[str, dict[str, Any]] = {
    f"{FLASH}:generateContent": WHOLE,
    f"{FLASH}:streamGenerateContent": {"contents": {"parts": {"text": "Hi"}}},
    f"{FLASH}:countTokens": {"generateContentRequest": {"model": f"models/{FLASH}", **WHOLE}},
    "gemini-embedding-001:batchEmbedContents": {
        "requests": [{"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "a"}]}}]
    },
}


@st.composite
def bodies(draw: st.DrawFn, base: dict[str, Any]) -> bytes:
    """A request with some values replaced or added; or nothing like a request."""
    if draw(st.integers(0, 9)) == 0:
        return json.dumps(draw(VALUES)).encode()
    document = copy.deepcopy(base)
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(sorted(places(document), key=repr)))
        target: Any = document
        for step in path[:-1]:
            target = target[step]
        if draw(st.booleans()):
            target[path[-1]] = draw(VALUES)
        elif isinstance(target, dict):
            target[draw(WORDS)] = draw(VALUES)
        else:
            target.append(draw(VALUES))
    return json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("verb", BASES)
def test_no_body_is_a_fault_of_ours(stack: Stack, verb: str) -> None:
    secret, free = stack.key(limits={"month": 10**15}), stack.key()
    answered, seen = [], set()
    with httpx2.Client(base_url=stack.base_url.removesuffix("/v1"), timeout=60) as http:

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(raw=bodies(BASES[verb]), hard=st.booleans(), sse=st.booleans())
        def one(raw: bytes, hard: bool, sse: bool) -> None:
            answer = http.post(
                f"/v1beta/models/{verb}{'?alt=sse' if sse else ''}",
                content=raw,
                headers={"x-goog-api-key": secret if hard else free},
            )
            seen.add(answer.status_code)
            assert answer.status_code in FINE, (answer.status_code, answer.text[:500], raw)
            if answer.status_code == 200:
                answered.append(answer.headers["x-request-id"])
                return
            told = answer.json()
            error = (told[0] if isinstance(told, list) else told)["error"]  # Google wraps it for an array
            assert error["code"] == answer.status_code
            assert error["message"], raw
            assert error["status"], raw

        one()
    assert {200, 400} <= seen, "the bodies were all alike"
    wait_until(lambda: stack.open_requests() == 0)
    events = [event.id for event in stack.events()]
    assert len(events) == len(set(events))
    assert set(answered) <= set(events), "an answer without its event"
    assert all(row["reserved"] == 0 for row in stack.counters(secret).values())
