"""Answers that nobody recorded, replayed as Google's references show them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import orjson
import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from gateway.settings import Settings
from tests.gateway.gemini.conftest import FLASH, header, providers
from tests.gateway.replay import Replay
from tests.stack import Stack, running_stack

VECTOR = [0.1, -0.2]


@pytest.fixture(scope="module")
def stack(replay: Replay) -> Iterator[Stack]:
    known = providers(f"http://127.0.0.1:{replay.port}")
    routes = {"texts": {"targets": [{"provider": "vertex", "model": "gemini-embedding-001"}]}}
    with running_stack(Settings.model_validate({"providers": known, "routes": routes})) as started:
        yield started


@pytest.fixture(scope="module")
def vertex(stack: Stack) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=stack.base_url.removesuffix("/v1"), timeout=60_000)
    token = Credentials(token=stack.key(limits={"month": 10**9}))
    with genai.Client(
        vertexai=True, project="theirs", location="eu", credentials=token, http_options=options
    ) as made:
        yield made


def answered(replay: Replay, document: Any, status: int = 200) -> None:
    replay.exchange = {"status": status, "response": document}


def test_vertex_predicts_embeddings_and_counts_their_tokens(
    vertex: genai.Client, stack: Stack, replay: Replay
) -> None:
    told = {"values": VECTOR, "statistics": {"token_count": 4, "truncated": False}}
    document = {"predictions": [{"embeddings": told}] * 2, "metadata": {"billableCharacterCount": 19}}
    answered(replay, document)
    made = vertex.models.embed_content(model="texts", contents=["four tokens", "and four"])
    assert [each.values for each in made.embeddings or ()] == [VECTOR, VECTOR]
    path = "/v1beta1/projects/ours/locations/here/publishers/google/models/gemini-embedding-001:predict"
    assert replay.path == path
    event = stack.event(header(made, "x-request-id"))
    assert (event.surface, event.usage_source, event.status) == ("predict", "provider", "succeeded")
    assert event.usage is not None
    assert event.usage["input_tokens"] == 8
    assert event.cost_nano == 8 * 150  # $0.15 per million


def test_an_embedding_may_tell_its_usage(stack: Stack, replay: Replay) -> None:
    usage = {"promptTokenCount": 11, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 11}]}
    answered(replay, {"embedding": {"values": VECTOR}, "usageMetadata": usage})
    answer = httpx2.post(
        stack.base_url.removesuffix("/v1") + "/v1beta/models/gemini-embedding-001:embedContent",
        json={"model": "models/gemini-embedding-001", "content": {"parts": [{"text": "Hello"}]}},
        headers={"x-goog-api-key": stack.key()},
        timeout=60,
    )
    event = stack.event(answer.headers["x-request-id"])
    assert (event.usage_source, event.cost_nano) == ("provider", 11 * 150)


def test_a_refusal_of_googles_is_passed_on_without_our_key(stack: Stack, replay: Replay) -> None:
    refused = {"error": {"code": 400, "message": "Bad AIza-simulated", "status": "INVALID_ARGUMENT"}}
    answered(replay, [refused], 400)
    root = stack.base_url.removesuffix("/v1")
    asked = {"contents": [{"parts": [{"text": "Hello"}]}]}
    headers = {"x-goog-api-key": stack.key()}
    answer = httpx2.post(f"{root}/v1beta/models/{FLASH}:generateContent", json=asked, headers=headers)
    assert answer.status_code == 400
    assert answer.json() == [{"error": {**refused["error"], "message": "Bad [redacted]"}}]


def test_an_error_in_an_answer_of_200_is_a_failure(stack: Stack, replay: Replay) -> None:
    answered(replay, {"error": {"code": 500, "message": "x", "status": "INTERNAL"}})
    root = stack.base_url.removesuffix("/v1")
    asked = {"contents": [{"parts": [{"text": "Hello"}]}]}
    headers = {"x-goog-api-key": stack.key()}
    answer = httpx2.post(f"{root}/v1beta/models/{FLASH}:generateContent", json=asked, headers=headers)
    event = stack.event(answer.headers["x-request-id"])
    assert (event.outcome, event.outcome_reason) == ("failure", "error_in_answer")


def test_a_picture_of_some_megabytes_passes_in_one_event(stack: Stack, replay: Replay) -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "A" * 3_000_000}}
    usage = {
        "promptTokenCount": 9,
        "candidatesTokenCount": 1_290,
        "totalTokenCount": 1_299,
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}],
    }
    last = {
        "candidates": [{"content": {"parts": [picture]}, "finishReason": "STOP"}],
        "usageMetadata": usage,
        "modelVersion": "gemini-2.5-flash-image",
    }
    replay.exchange = {"status": 200, "stream": f"data: {orjson.dumps(last).decode()}\r\n\r\n"}
    root = stack.base_url.removesuffix("/v1")
    answer = httpx2.post(
        f"{root}/v1beta/models/gemini-2.5-flash-image:streamGenerateContent?alt=sse",
        json={"contents": [{"parts": [{"text": "Draw"}]}]},
        headers={"x-goog-api-key": stack.key()},
        timeout=120,
    )
    assert answer.content == replay.exchange["stream"].encode()
    event = stack.event(answer.headers["x-request-id"])
    assert (event.status, event.usage_source) == ("succeeded", "provider")
    # 9 tokens at $0.30 and a picture of 1,290 at $30 per million
    assert event.cost_nano == 9 * 300 + 1_290 * 30_000


def test_a_models_own_name_is_for_a_provider_that_speaks_the_dialect(stack: Stack, replay: Replay) -> None:
    told = {"values": VECTOR, "statistics": {"token_count": 4}}
    answered(replay, {"predictions": [{"embeddings": told}]})
    root, headers = stack.base_url.removesuffix("/v1"), {"x-goog-api-key": stack.key()}
    path = "/v1beta1/publishers/google/models/gemini-embedding-001:predict"
    answer = httpx2.post(root + path, json={"instances": [{"content": "x"}]}, headers=headers, timeout=60)
    assert (answer.status_code, answer.headers["observe-provider"]) == (200, "vertex")  # gemini has none
    answered(replay, {"totalTokens": 3})
    asked = {"contents": [{"parts": [{"text": "x"}]}]}
    path = f"/v1beta/models/{FLASH}:countTokens"
    counted = httpx2.post(root + path, json=asked, headers=headers, timeout=60)
    assert counted.headers["observe-provider"] == "gemini"  # which is configured first
