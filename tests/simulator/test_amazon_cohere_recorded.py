"""The simulated Bedrock and Cohere beside what the real ones were recorded to answer."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from simulator.process import Simulator
from tests.simulator.recordings import paths, recorded

USER = {"role": "user", "content": [{"text": "Hi"}]}
TOOL = {"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object"}}}}
SYSTEM = [{"text": " word" * 1_100}, {"cachePoint": {"type": "default"}}]
THINKING = {"additionalModelRequestFields": {"thinking": {"type": "adaptive"}}}
CONVERSED: list[dict[str, Any]] = [
    {"messages": [USER]},
    {"messages": [USER], "toolConfig": {"tools": [TOOL]}},
    {"messages": [USER], "system": SYSTEM},
    {"messages": [USER], **THINKING},
]
COHERE_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CHATTED: list[dict[str, Any]] = [{}, {"tools": [COHERE_TOOL]}]


def names(document: Any) -> set[str]:
    return {where for where, _ in paths(document)}


@pytest.mark.parametrize("asked", CONVERSED)
def test_every_member_of_a_converse_answer_is_one_that_bedrock_sends(
    http: httpx2.Client, simulator: Simulator, asked: dict[str, Any]
) -> None:
    exchanges = [each for each in recorded("bedrock") if each["path"].endswith("/converse")]
    claude = [each for each in exchanges if "anthropic" in each["path"] and each["status"] == 200]
    real = [each["response"] for each in claude if "response" in each]
    known = {member for document in real for member in paths(document)}
    always = set.intersection(*(names(document["usage"]) for document in real))
    path = next(each["path"] for each in claude if "sonnet-4-5" in each["path"])
    answer = http.post(path, json=asked)
    assert answer.status_code == 200
    assert set(paths(answer.json())) - known == set()
    assert always - names(answer.json()["usage"]) == set()


def test_errors_look_like_bedrocks(http: httpx2.Client, simulator: Simulator) -> None:
    exchanges = [each for each in recorded("bedrock") if each["status"] == 400]
    wrong = next(each for each in exchanges if "invalid" in each["response"]["message"])
    answer = http.post(wrong["path"], content=wrong["request"])
    assert (answer.status_code, answer.json()) == (400, wrong["response"])


@pytest.mark.parametrize("asked", CHATTED)
def test_every_member_of_a_cohere_chat_is_one_that_cohere_sends(
    http: httpx2.Client, simulator: Simulator, asked: dict[str, Any]
) -> None:
    real = [each["response"] for each in recorded("cohere") if each["path"] == "/v2/chat"]
    known = {member for document in real for member in paths(document)}
    body = {"model": "command-r7b-12-2024", "messages": [{"role": "user", "content": "Hi"}], **asked}
    answer = http.post("/v2/chat", json=body).json()
    assert set(paths(answer)) - known == set()
    assert set.intersection(*map(names, real)) - names(answer) == set()


def test_short_texts_count_nearly_as_cohere_counted_them(http: httpx2.Client, simulator: Simulator) -> None:
    for each in recorded("cohere"):
        billed = (each["response"].get("usage") or each["response"]["meta"])["billed_units"]
        if each["request"].get("tools"):
            continue
        sent = {name: value for name, value in each["request"].items() if value is not None}
        sent["model"] = {"command-r-plus": "command-r-plus-08-2024"}.get(sent["model"], sent["model"])
        answer = http.post(each["path"], json=sent).json()
        here = (answer.get("usage") or answer["meta"])["billed_units"]
        assert set(here) == set(billed)
        assert abs(here["input_tokens"] - billed["input_tokens"]) <= 2


def test_every_member_of_an_embedding_is_one_that_cohere_sends(
    http: httpx2.Client, simulator: Simulator
) -> None:
    (real,) = [each for each in recorded("cohere") if each["path"] == "/v2/embed"]
    answer = http.post("/v2/embed", json=real["request"]).json()
    assert names(answer) == names(real["response"])
    assert json.dumps(answer["meta"], sort_keys=True) == json.dumps(real["response"]["meta"], sort_keys=True)
