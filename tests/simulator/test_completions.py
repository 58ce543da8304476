from fractions import Fraction
from typing import Any

import httpx2
import openai
import pytest

from simulator.process import Simulator

MODEL = "gpt-3.5-turbo-instruct"
RATES = Fraction("1.5") / 10**6, Fraction(2) / 10**6


def billed(simulator: Simulator) -> dict[str, Any]:
    (entry,) = simulator.bill()["requests"]
    return dict(entry)


def test_the_usual_maximum_is_16_and_the_bill_is_its_price(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    answer = client.completions.create(model=MODEL, prompt="What is the capital of Mexico?")
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 16)
    assert Fraction(billed(simulator)["exact"]) == 7 * RATES[0] + 16 * RATES[1]


def test_many_prompts_each_get_their_answers_and_the_best_of_is_paid(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    answer = client.completions.create(
        model=MODEL, prompt=["one two", "three"], n=2, best_of=3, max_tokens=10, echo=True, logprobs=0
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text.startswith(start) for choice, start in zip(
        answer.choices, ("one two", "one two", "three", "three"), strict=True
    )] == [True] * 4  # fmt: skip
    assert answer.choices[0].logprobs is not None
    assert "".join(answer.choices[0].logprobs.tokens or ()) == answer.choices[0].text
    bill = billed(simulator)
    assert (bill["prompt_tokens"], bill["completion_tokens"]) == (3, 2 * 3 * 10)


def test_token_numbers_count_one_each(client: openai.OpenAI, simulator: Simulator) -> None:
    client.completions.create(model=MODEL, prompt=[[1, 2, 3], [4, 5]], max_tokens=0)
    bill = billed(simulator)
    assert (bill["prompt_tokens"], bill["completion_tokens"]) == (5, 0)


def test_a_stream_carries_all_answers_and_then_the_usage(client: openai.OpenAI, simulator: Simulator) -> None:
    chunks = list(
        client.completions.create(
            model=MODEL, prompt="Hi", n=2, max_tokens=5, stream=True, stream_options={"include_usage": True}
        )
    )
    texts = {0: "", 1: ""}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts[0] != texts[1]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 10 == billed(simulator)["completion_tokens"]


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 3, "best_of": 2},
        {"best_of": 2, "stream": True},
        {"prompt": []},
        {"prompt": [1, "a"]},
        {"logprobs": 6},
        {"max_tokens": 4_097},
        {"max_tokens": -1},
        {"stream_options": {"include_usage": True}},
        {"model": "gpt-4o-mini"},
    ],
)
def test_what_openai_refuses_is_refused(
    http: httpx2.Client, simulator: Simulator, fields: dict[str, Any]
) -> None:
    answer = http.post("/v1/completions", json={"model": MODEL, "prompt": "Hi", **fields})
    assert answer.status_code in (400, 404)
    assert answer.json()["error"]["message"]
    assert simulator.bill()["total_nano"] == 0


def test_moderations_are_free_and_flag_one_word(client: openai.OpenAI, simulator: Simulator) -> None:
    answer = client.moderations.create(input=["a quiet day", "a day of violence"])
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence
    bill = billed(simulator)
    assert (bill["nano"], bill["complete"]) == (0, True)
    assert bill["prompt_tokens"] > 0


def test_parts_of_a_moderation_have_one_result(client: openai.OpenAI) -> None:
    parts: Any = [
        {"type": "text", "text": "see this"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    answer = client.moderations.create(model="omni-moderation-latest", input=parts)
    assert len(answer.results) == 1
    assert answer.results[0].category_applied_input_types.violence == ["text", "image"]
