"""The simulated Responses beside what OpenAI was recorded to answer: names, types and their order."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from simulator.process import Simulator
from tests.simulator.recordings import disorder, paths, recorded, streamed

FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
ASKED: list[dict[str, Any]] = [
    {"model": "gpt-4o", "input": "Hi"},
    {"model": "gpt-5-nano", "input": "Hi", "include": ["reasoning.encrypted_content"]},
    {"model": "gpt-4o", "input": "Hi", "tools": [{"type": "web_search"}]},
    {"model": "gpt-4o", "input": "Hi", "tools": [FUNCTION]},
    {"model": "gpt-4o", "input": "Hi", "background": True},
]


def exchanges() -> list[dict[str, Any]]:
    found = recorded("openai")
    return [each for each in found if each["path"] == "/v1/responses" and each["status"] == 200]


@pytest.mark.parametrize("asked", ASKED)
def test_every_member_of_a_response_is_one_that_openai_sends(
    http: httpx2.Client, simulator: Simulator, asked: dict[str, Any]
) -> None:
    events = [event for each in exchanges() for event in streamed(each.get("stream", ""))]
    whole = [each["response"] for each in exchanges() if "response" in each]
    real = [*whole, *(event["response"] for event in events if "response" in event)]
    known = {member for document in real for member in paths(document)}
    always = set.intersection(*({where for where, _ in paths(document)} for document in whole))
    members = set(paths(http.post("/v1/responses", json=asked).json()))
    assert members - known == set()
    assert always - {where for where, _ in members} == set()


@pytest.mark.parametrize("asked", ASKED)
def test_every_event_has_openais_members_in_its_order(
    http: httpx2.Client, simulator: Simulator, asked: dict[str, Any]
) -> None:
    found = exchanges()
    # The newest way to order members: a stream that pads its deltas.
    newest = [each["stream"] for each in found if '"obfuscation"' in each.get("stream", "")]
    real = [event for text in newest for event in streamed(text)]
    stages = [event for each in found for event in streamed(each.get("stream", ""))]
    for kind in ("created", "queued", "in_progress", "completed"):
        documents = [each["response"] for each in found if "response" in each]
        stages += [{"type": f"response.{kind}", "response": document} for document in documents]
    known = {where for event in stages for where, _ in paths(event)}
    for event in streamed(http.post("/v1/responses", json={**asked, "stream": True}).text):
        assert {where for where, _ in paths(event)} - known == set()
        alike = [each for each in real if each["type"] == event["type"]]
        assert disorder(list(event), [list(each) for each in alike]) == []
        if "response" in event:
            orders = [list(each["response"]) for each in alike if each["response"]["object"] == "response"]
            assert disorder(list(event["response"]), orders) == []


def test_errors_look_like_openais(http: httpx2.Client, simulator: Simulator) -> None:
    errors = [each["response"] for each in recorded("openai") if each["status"] == 400]
    known = {frozenset(where for where, _ in paths(error)) for error in errors}
    answer = http.post("/v1/responses", json={"model": "gpt-9", "input": "Hi"})
    assert frozenset(where for where, _ in paths(answer.json())) in known
    named = [error["error"] for error in errors if error["error"]["code"] == "model_not_found"]
    assert {**named[0], "message": ""} == {**answer.json()["error"], "message": ""}
