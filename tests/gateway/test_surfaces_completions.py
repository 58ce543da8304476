"""Text completions and moderations: understood, bounded, passed on, charged as the provider bills."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import orjson
import pytest
from openai import OpenAI

from gateway.ceiling import MESSAGE_TOKENS, ceiling, counted_bound, input_bound
from gateway.dialects import SURFACES
from gateway.dialects.openai import OPENAI
from gateway.errors import BadRequest
from gateway.settings import PriceOverride
from metering.pricebook import ModelPrice, PriceBook
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack

MODEL = "gpt-3.5-turbo-instruct"
DOLLAR = 10**9
NOW = 1_790_000_000_000


def read(**fields: Any) -> Any:
    return SURFACES["completions"].call({"model": MODEL, "prompt": "Once upon a time", **fields})


def price() -> ModelPrice:
    found = PriceBook.load().find("openai", MODEL, NOW)
    assert found is not None
    return found


# What a request means


@pytest.mark.parametrize(
    ("fields", "prompts", "choices", "given"),
    [
        ({}, 1, 1, 0),
        ({"prompt": None}, 1, 1, 0),
        ({"prompt": ""}, 1, 1, 0),
        ({"prompt": ["a", "b", "c"], "n": 2}, 3, 6, 0),
        ({"prompt": [1, 2, 3]}, 1, 1, 3),
        ({"prompt": [[1, 2, 3], [4]], "best_of": 5}, 2, 10, 4),
        ({"prompt": ["a", [7, 8]], "n": 2, "best_of": 3}, 2, 6, 2),
        ({"n": 4, "best_of": 2}, 1, 4, 0),
    ],
)
def test_prompts_and_the_answers_made_for_them_are_counted(
    fields: dict[str, Any], prompts: int, choices: int, given: int
) -> None:
    call = read(**fields)
    assert (call.messages, call.choices, call.given_tokens) == (prompts, choices, given)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": [True]}, "prompt[0]"),
        ({"prompt": [1, "a"]}, "prompt[0]"),
        ({"prompt": ["a", {}]}, "prompt[1]"),
        ({"prompt": [[1, None]]}, "prompt[0]"),
        ({"prompt": ["a"] * 2_049}, "prompt"),
        ({"n": 0}, "n"),
        ({"best_of": 129}, "best_of"),
        ({"best_of": 1.5}, "best_of"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"echo": "yes"}, "echo"),
        ({"suffix": 3}, "suffix"),
        ({"stream_options": {}}, "stream_options"),
        ({"model": None}, "model"),
    ],
)
def test_a_wrong_field_of_a_completion_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as told:
        read(**fields)
    assert told.value.param == param


@pytest.mark.parametrize("given", [None, 3, {}, [], [3], [{"type": "image_url"}]])
def test_moderations_need_an_input(given: object) -> None:
    with pytest.raises(BadRequest) as told:
        SURFACES["moderations"].call({"input": given})
    assert told.value.param is not None
    assert told.value.param.startswith("input")


def test_the_moderation_model_that_a_client_leaves_out_is_written_down() -> None:
    call = SURFACES["moderations"].call({"input": "x", "new": 1})
    assert orjson.loads(call.forwarded(call.model, maximum=None, ask_usage=False)) == {
        "input": "x",
        "new": 1,
        "model": "omni-moderation-latest",
    }


def test_an_input_of_a_kind_not_yet_invented_has_no_bound() -> None:
    assert SURFACES["moderations"].call({"input": [{"type": "smell"}]}).unbounded == "input[0]"


def test_the_ceiling_covers_every_answer_that_is_made_for_every_prompt() -> None:
    call = read(prompt=["one", "two"], n=2, best_of=3, max_tokens=50)
    body = call.forwarded(MODEL, maximum=None, ask_usage=False)
    rates = price().ceiling_rates(media=False)
    bound = ceiling(call, body, price())
    assert bound is not None
    pico = input_bound(call, body) * rates.input_pico + 2 * 3 * 50 * rates.output_pico
    assert bound.full == -(-pico // 1_000)
    assert input_bound(call, body) == len(body) + 2 * MESSAGE_TOKENS


def test_a_suffix_is_read_with_every_prompt() -> None:
    call = read(prompt=["a"] * 11, suffix="ﷺ" * 10)
    # One ligature of three bytes that normalises to 18 letters, in 33 bytes.
    assert call.repeated_bytes == 10 * 10 * 33
    body = call.forwarded(MODEL, maximum=None, ask_usage=False)
    assert input_bound(call, body) >= 11 * 330
    assert counted_bound(call, 10) >= 10 * 330
    assert call.likely_input(12) == 12 + 3_300 // 4


def test_without_a_maximum_the_formats_own_16_is_what_is_assumed() -> None:
    bound = ceiling(read(), b"{}", price())
    assert bound is not None
    assert (bound.maximum, bound.assumed, bound.least) == (16_385, 16, 16)


def test_a_maximum_of_zero_is_one() -> None:
    bound = ceiling(read(max_tokens=0, echo=True), b"{}", price())
    assert bound is not None
    assert (bound.maximum, bound.assumed) == (0, 0)


@pytest.mark.parametrize("surface", ["completions", "embeddings"])
def test_token_numbers_stay_inside_a_counted_bound(surface: str) -> None:
    numbers = [[n] * 500 for n in range(3)]
    call = SURFACES[surface].call({"model": MODEL, "prompt": numbers, "input": numbers})
    assert call.prompt_text() == ""
    assert counted_bound(call, 0) >= 1_500
    assert call.likely_input(0) == 1_500


def test_an_estimate_leaves_out_the_echo_and_adds_the_answers_that_lost() -> None:
    call = read(prompt=["a b c", "d e f"], n=1, best_of=2, echo=True)
    assert call.likely_output(26, 6) == (26 - 6) * 2
    assert read().likely_output(16, 4) == 16


@pytest.mark.parametrize(
    ("counted", "chunks", "expected"),
    [(100, 104, 104), (100, 80, 80), (100, 20, 100), (100, 400, 100), (9, 0, 9)],
)
def test_a_stream_of_one_token_a_chunk_tells_the_providers_own_count(
    counted: int, chunks: int, expected: int
) -> None:
    chat = SURFACES["chat.completions"].call({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    assert chat.likely_output(counted, 5, chunks) == expected
    assert read(n=1, best_of=1).likely_output(counted, 5, chunks) == expected


def test_the_text_of_a_completion_is_found_where_it_stands() -> None:
    assert OPENAI.text({"choices": [{"text": "a"}, {"text": "b"}, {"text": None}, 3]}) == "ab"
    assert OPENAI.text({"choices": 3}) == ""


# On the wire


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(limits={"month": 100 * DOLLAR})


@pytest.fixture(scope="module")
def client(stack: Stack, secret: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=stack.base_url, api_key=secret, max_retries=0) as made:
        yield made


@pytest.fixture
def http(stack: Stack, secret: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(
        base_url=stack.base_url, timeout=60, headers={"Authorization": f"Bearer {secret}"}
    ) as made:
        yield made


def bill_of(simulator: Simulator, request_id: str) -> dict[str, Any]:
    (entry,) = simulator.bill(request_id)["requests"]
    return dict(entry)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "What is the capital of Mexico?"},
        {"prompt": "Say it.", "max_tokens": 25, "suffix": " The end."},
        {"prompt": ["one", "two and three"], "n": 2, "max_tokens": 5},
        {"prompt": ["a"] * 60, "suffix": " and so it goes on" * 40, "max_tokens": 1},
        {"prompt": ["one", "two"], "n": 1, "best_of": 4, "max_tokens": 5, "echo": True, "logprobs": 2},
        {"prompt": [9, 8, 7]},
        {"prompt": [[9, 8, 7], [6, 5]], "echo": True, "max_tokens": 0},
    ],
)
def test_a_completion_costs_what_the_provider_bills(
    client: OpenAI, stack: Stack, simulator: Simulator, fields: dict[str, Any]
) -> None:
    raw = client.completions.with_raw_response.create(model=MODEL, **fields)
    answer = raw.parse()
    assert answer.object == "text_completion"
    event = stack.event(raw.headers["x-request-id"])
    entry = bill_of(simulator, event.id)
    assert (event.surface, event.status, event.cost_status) == ("completions", "succeeded", "priced")
    assert event.usage is not None
    assert event.usage["input_tokens"] == entry["prompt_tokens"]
    assert event.usage.get("output_tokens", 0) == entry["completion_tokens"]
    assert event.cost_nano == entry["nano"]
    assert event.held_nano >= entry["nano"]
    assert event.doubted_nano == 0


@pytest.mark.parametrize("asked", [True, False])
def test_a_streamed_completion_shows_usage_only_to_who_asked(
    client: OpenAI, stack: Stack, simulator: Simulator, asked: bool
) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asked else {}
    with client.completions.with_streaming_response.create(
        model=MODEL, prompt=["Hello", "Good day"], n=2, max_tokens=9, stream=True, **options
    ) as raw:
        request_id = raw.headers["x-request-id"]
        chunks = list(raw.parse())
    assert len([chunk for chunk in chunks if not chunk.choices]) == (1 if asked else 0)
    assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1, 2, 3}
    event = stack.event(request_id)
    assert (event.usage_source, event.status, event.stream) == ("provider", "succeeded", True)
    assert event.cost_nano == bill_of(simulator, request_id)["nano"]


def test_the_formats_own_maximum_is_written_where_a_budget_is_short(
    stack: Stack, simulator: Simulator
) -> None:
    free = stack.key()
    short = stack.key(limits={"month": DOLLAR // 1_000})
    for key, header in ((free, None), (short, "16")):
        answer = httpx2.post(
            f"{stack.base_url}/completions",
            json={"model": MODEL, "prompt": "Go on"},
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
        )
        assert answer.status_code == 200
        assert answer.headers.get("observe-max-tokens") == header
        sent = orjson.loads(simulator.received()[-1]["body"])
        assert sent.get("max_tokens") == (None if header is None else 16)
        assert "max_completion_tokens" not in sent
        assert answer.json()["usage"]["completion_tokens"] == 16


def test_a_completion_without_usage_is_estimated_from_its_text(
    http: httpx2.Client, stack: Stack, simulator: Simulator
) -> None:
    answer = http.post(
        "/completions",
        json={
            "model": MODEL,
            "prompt": "Tell [[simulate: no_usage tokens=40]]",
            "max_tokens": 40,
            "echo": True,
        },
    )
    event = stack.event(answer.headers["x-request-id"])
    assert (event.cost_status, event.usage_source) == ("estimated", "estimated")
    entry = bill_of(simulator, event.id)
    assert event.usage is not None
    assert abs(event.usage["output_tokens"] - entry["completion_tokens"]) <= 4
    assert event.cost_nano is not None
    assert entry["nano"] <= event.cost_nano + event.doubted_nano


def test_a_cut_completion_ends_with_an_error_event(http: httpx2.Client, stack: Stack) -> None:
    answer = http.post(
        "/completions",
        json={"model": MODEL, "prompt": "Go [[simulate: close_after_chunks=5]]", "stream": True},
    )
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    assert "upstream_error" in answer.text
    assert stack.event(answer.headers["x-request-id"]).status == "cut"


def test_fields_that_nobody_knows_go_through(http: httpx2.Client, simulator: Simulator) -> None:
    more = {"logit_bias": {"50256": -100}, "min_p": 0.1, "guided_regex": "a+", "user": "u", "x": [None, {}]}
    assert (
        http.post("/completions", json={"model": MODEL, "prompt": "Hi", **more, "seed": 2**62}).status_code
        == 200
    )
    sent = orjson.loads(simulator.received()[-1]["body"])
    assert {name: sent[name] for name in more} == more
    assert http.post("/moderations", json={"input": "Hi", **more}).status_code == 200


@pytest.mark.parametrize("model", [None, "omni-moderation-latest"])
def test_moderations_are_free_and_leave_their_event(
    client: OpenAI, stack: Stack, simulator: Simulator, model: str | None
) -> None:
    named = {} if model is None else {"model": model}
    raw = client.moderations.with_raw_response.create(input=["fine", "some violence"], **named)
    assert [result.flagged for result in raw.parse().results] == [False, True]
    assert raw.headers["observe-cost-usd"] == "0.00"
    event = stack.event(raw.headers["x-request-id"])
    assert (event.surface, event.cost_nano, event.cost_status) == ("moderations", 0, "free")
    assert (event.held_nano, event.doubted_nano) == (0, 0)
    assert bill_of(simulator, event.id)["nano"] == 0


def test_a_moderation_that_has_a_price_is_estimated(simulator: Simulator) -> None:
    dear = PriceOverride(
        provider="openai", model="omni-moderation-latest", usd_per_million={"input_tokens": "0.10"}
    )
    with running_stack(simulated_settings(simulator, prices=[dear])) as stack:
        answer = httpx2.post(
            f"{stack.base_url}/moderations",
            json={"input": "What is the capital of Mexico?"},
            headers={"Authorization": f"Bearer {stack.key(limits={'month': DOLLAR})}"},
        )
        assert answer.status_code == 200
        event = stack.event(answer.headers["x-request-id"])
        assert (event.cost_status, event.usage_source) == ("estimated", "estimated")
        assert event.cost_nano is not None
        # Seven tokens by the simulator; nobody publishes the tokenizer of this model, so it is not exact.
        assert 7 * 100 <= event.cost_nano <= 10 * 100
        assert event.doubted_nano == event.held_nano - event.cost_nano > 0


def test_a_key_without_the_scope_may_use_neither(stack: Stack) -> None:
    reader = stack.key(scopes=("models.read",))
    with OpenAI(base_url=stack.base_url, api_key=reader, max_retries=0) as client:
        with pytest.raises(openai.PermissionDeniedError):
            client.completions.create(model=MODEL, prompt="Hi")
        with pytest.raises(openai.PermissionDeniedError):
            client.moderations.create(input="Hi")


def test_a_key_in_a_path_or_a_models_name_is_not_repeated(http: httpx2.Client, secret: str) -> None:
    answers = [http.get(f"/{secret}"), http.get(f"/models/{secret}")]
    answers.append(http.post("/completions", json={"model": f"x-{secret}", "prompt": "Hi"}))
    for answer in answers:
        assert answer.status_code == 404
        assert "obs_[redacted]" in answer.json()["error"]["message"]
        assert secret not in answer.text


def test_a_provider_that_repeats_our_credential_is_not_quoted(http: httpx2.Client) -> None:
    prompt = "Hi [[simulate: status=400 tell_key]]"
    for stream in (False, True):
        answer = http.post("/completions", json={"model": MODEL, "prompt": prompt, "stream": stream})
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].endswith("The key was [redacted].")


@pytest.mark.parametrize("path", ["/completions", "/chat/completions"])
def test_an_error_under_status_200_is_no_success(http: httpx2.Client, stack: Stack, path: str) -> None:
    words = "Hi [[simulate: error_in_stream]]"
    asked = {"prompt": words, "model": MODEL}
    if path == "/chat/completions":
        asked = {"messages": [{"role": "user", "content": words}], "model": "gpt-4o-mini"}  # type: ignore[dict-item]
    answer = http.post(path, json=asked)
    assert answer.status_code == 200
    event = stack.event(answer.headers["x-request-id"])
    assert (event.outcome, event.outcome_reason) == ("failure", "error_in_answer")
    assert event.cost_status == "estimated"
