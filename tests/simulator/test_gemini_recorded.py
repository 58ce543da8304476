"""The simulated Gemini beside what the real one was recorded to answer: names, types and their order."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from simulator.process import Simulator
from tests.simulator.recordings import disorder, paths, recorded, streamed

HELLO = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
WEATHER = {"tools": [{"functionDeclarations": [{"name": "get_weather", "parameters": {"type": "OBJECT"}}]}]}
CACHED = {"contents": [{"role": "user", "parts": [{"text": "word " * 1_100}]}]}
ASKED: list[tuple[str, dict[str, Any]]] = [
    ("gemini-2.5-flash", HELLO),
    ("gemini-3-flash-preview", {**HELLO, **WEATHER}),
    ("gemini-2.5-flash", {**HELLO, "generationConfig": {"maxOutputTokens": 10}}),
    ("gemini-2.5-flash", {**HELLO, "generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
    ("gemini-2.5-flash", CACHED),
    ("gemini-2.5-flash", CACHED),
]
PATHS = {
    "google": "/v1beta/models/{}",
    "vertex": "/v1beta1/projects/p/locations/global/publishers/google/models/{}",
}
# What Google documents (https://ai.google.dev/api/generate-content#UsageMetadata) and no recording has.
DOCUMENTED = {
    (".usageMetadata.cachedContentTokenCount", "int"),
    (".usageMetadata.cacheTokensDetails", "list"),
    (".usageMetadata.cacheTokensDetails[].modality", "str"),
    (".usageMetadata.cacheTokensDetails[].tokenCount", "int"),
}


@pytest.mark.parametrize("provider", PATHS)
def test_every_member_of_an_answer_is_one_that_google_sends(
    http: httpx2.Client, simulator: Simulator, provider: str
) -> None:
    exchanges = [each for each in recorded(provider) if "enerateContent" in each["path"]]
    real = [each["response"] for each in exchanges if "response" in each]
    real += [event for each in exchanges for event in streamed(each.get("stream", ""))]
    known = {member for document in real for member in paths(document)} | DOCUMENTED
    for model, body in ASKED:
        path = PATHS[provider].format(model)
        documents = [http.post(f"{path}:generateContent", json=body).json()]
        documents += http.post(f"{path}:streamGenerateContent", json=body).json()
        for document in documents:
            assert set(paths(document)) - known == set()
            assert {"candidates", "usageMetadata", "modelVersion", "responseId"} <= set(document)


@pytest.mark.parametrize("provider", PATHS)
def test_a_stream_has_googles_members_in_its_order(
    http: httpx2.Client, simulator: Simulator, provider: str
) -> None:
    real = [event for each in recorded(provider) for event in streamed(each.get("stream", ""))]
    for model, body in ASKED:
        path = f"{PATHS[provider].format(model)}:streamGenerateContent?alt=sse"
        for event in streamed(http.post(path, json=body).text):
            assert disorder(list(event), [list(each) for each in real]) == []
            usages = [list(each["usageMetadata"]) for each in real]
            assert disorder(list(event["usageMetadata"]), usages) == []
            candidates = [list(each["candidates"][0]) for each in real]
            assert disorder(list(event["candidates"][0]), candidates) == []
            contents = [list(each["candidates"][0].get("content", {})) for each in real]
            assert disorder(list(event["candidates"][0]["content"]), contents) == []
