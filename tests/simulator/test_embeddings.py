from __future__ import annotations

import math

import httpx2
import openai
import pytest

from simulator.process import Simulator


def test_vectors_have_length_one_and_their_usage_is_worked_by_hand(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="text-embedding-3-small", input="Hello, world!")
    # Hello|,| world|! = 4, as OpenAI itself said.
    assert answer.usage.prompt_tokens == answer.usage.total_tokens == 4
    assert answer.model == "text-embedding-3-small"
    vector = answer.data[0].embedding
    assert len(vector) == 1536
    assert math.isclose(math.fsum(part * part for part in vector), 1.0, rel_tol=1e-6)


@pytest.mark.parametrize("dimensions", [1, 7, 128, 3072])
def test_both_encodings_are_the_same_vector(client: openai.OpenAI, dimensions: int) -> None:
    ask = {"model": "text-embedding-3-large", "input": "same", "dimensions": dimensions}
    floats = client.embeddings.create(**ask, encoding_format="float").data[0].embedding
    # The SDK asks for base64 when nothing is said, and decodes it.
    assert client.embeddings.create(**ask).data[0].embedding == floats
    assert len(floats) == dimensions


def test_lists_and_token_arrays_are_taken(client: openai.OpenAI) -> None:
    texts = client.embeddings.create(model="text-embedding-3-small", input=["one", "two words"])
    assert [each.index for each in texts.data] == [0, 1]
    assert texts.usage.prompt_tokens == 1 + 2
    assert texts.data[0].embedding != texts.data[1].embedding
    assert client.embeddings.create(model="text-embedding-3-small", input=[1, 2, 3]).usage.prompt_tokens == 3
    assert (
        client.embeddings.create(model="text-embedding-3-small", input=[[1], [2, 3]]).usage.prompt_tokens == 3
    )


@pytest.mark.parametrize(
    "change",
    [
        {"input": ""}, {"input": []}, {"input": None}, {"input": [1, "a"]}, {"input": "a." * 5000},
        {"dimensions": 0}, {"dimensions": 4000}, {"dimensions": "9"}, {"encoding_format": "hex"},
    ],
)  # fmt: skip
def test_what_openai_refuses_is_refused(
    http: httpx2.Client, simulator: Simulator, change: dict[str, object]
) -> None:
    answer = http.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "a", **change})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert simulator.total_nano() == 0


def test_unknown_and_unfit_models_are_not_found(client: openai.OpenAI) -> None:
    for model in ("nonexistent", "gpt-4o"):
        with pytest.raises(openai.NotFoundError):
            client.embeddings.create(model=model, input="a")


def test_directives_in_the_last_input_are_obeyed(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError):
        client.embeddings.create(model="text-embedding-3-small", input=["a", "[[simulate: status=429]]"])
