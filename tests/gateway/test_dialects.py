import orjson
import pytest

from gateway.dialects import SURFACES
from gateway.dialects.exchange import MAXIMUM_TOKENS, parse_object
from gateway.errors import BadRequest
from metering.usage.openai import read_usage

REASONED = {"reasoning_tokens": 4}
MESSAGES = [{"role": "user", "content": "hi"}]


def chat(**fields: object) -> dict[str, object]:
    return {"model": "m", "messages": MESSAGES, **fields}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xff"}',
        b'{"seed": 99999999999999999999}',
        b'{"a": {"b": [-99999999999999999999]}}',
        b'{"a": 1} {"a": 2}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_one_exact_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_object(raw)


def test_long_digits_inside_text_are_only_text() -> None:
    assert parse_object(b'{"a": "12345678901234567890123"}') == {"a": "12345678901234567890123"}
    assert parse_object(b'{"a": 9223372036854775807}') == {"a": 2**63 - 1}


def test_of_a_name_given_twice_the_provider_gets_the_one_that_was_admitted() -> None:
    body = parse_object(
        b'{"model":"cheap","max_tokens":1,"messages":[{"role":"user","content":"x"}],"max_tokens":9}'
    )
    call = SURFACES["chat.completions"].call(body)
    assert call.maximum == 9
    assert orjson.loads(call.forwarded("cheap", maximum=None, ask_usage=False))["max_tokens"] == 9


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"model": ""}, "model"),
        ({"model": "a\nb"}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [3]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"stream": "yes"}, "stream"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 129}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"max_completion_tokens": MAXIMUM_TOKENS + 1}, "max_completion_tokens"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, "tools[0]"),
        ({"response_format": "json"}, "response_format"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], param: str) -> None:
    with pytest.raises(BadRequest) as told:
        SURFACES["chat.completions"].call(chat(**fields))
    assert told.value.param == param


@pytest.mark.parametrize("value", [None, 3, {}, [], [True], [{}]])
def test_embeddings_need_an_input(value: object) -> None:
    with pytest.raises(BadRequest) as told:
        SURFACES["embeddings"].call({"model": "m", "input": value})
    assert told.value.param is not None
    assert told.value.param.startswith("input")


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "web_search"}]},
        {"web_search_options": {}},
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "not_yet_invented"}]}]},
    ],
)
def test_what_has_no_bound_is_noticed(fields: dict[str, object]) -> None:
    assert SURFACES["chat.completions"].call(chat(**fields)).unbounded is not None


def test_of_two_maxima_the_larger_is_held() -> None:
    call = SURFACES["chat.completions"].call(chat(max_tokens=10, max_completion_tokens=50))
    assert (call.maximum, call.maximum_field) == (50, "max_completion_tokens")


def test_the_forwarded_body_differs_only_where_the_gateway_must_speak() -> None:
    body = chat(stream=True, temperature=0.5, unknown_field={"kept": [1, 2.5, None]})
    call = SURFACES["chat.completions"].call(body)
    sent = orjson.loads(call.forwarded("other", maximum=("max_tokens", 7), ask_usage=True))
    assert sent == {**body, "model": "other", "max_tokens": 7, "stream_options": {"include_usage": True}}
    assert "max_tokens" not in body


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}, (10, 0, 5, 0)),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}},
            (10, 8, 5, 0),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 6}, (10, 6, 5, 0)),
        # An explicit zero is a figure, not a gap to be filled from elsewhere.
        (
            {"prompt_tokens": 10, "completion_tokens": 0, "prompt_cache_hit_tokens": 6,
             "prompt_tokens_details": {"cached_tokens": 0}},
            (10, 0, 0, 0),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 5, "completion_tokens_details": REASONED},
            (9, 0, 5, 4),
        ),
        # xAI counts reasoning beside completion_tokens; its total tells.
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 19,
             "completion_tokens_details": {"reasoning_tokens": 4}},
            (10, 0, 9, 4),
        ),
        ({"prompt_tokens": 10, "total_tokens": 10}, (10, 0, 0, 0)),
        ({"prompt_tokens": 10, "completion_tokens": -5}, (10, 0, 0, 0)),
        ({"prompt_tokens": 10, "completion_tokens": None, "prompt_tokens_details": None}, (10, 0, 0, 0)),
    ],
)  # fmt: skip
def test_usage_is_normalised_to_totals_that_include_their_parts(
    reported: dict[str, object], expected: tuple[int, int, int, int]
) -> None:
    usage = read_usage(reported)
    assert usage is not None
    assert (
        usage.input_tokens,
        usage.cache_read_input_tokens,
        usage.output_tokens,
        usage.reasoning_output_tokens,
    ) == expected


def test_usage_without_any_figure_is_none() -> None:
    assert read_usage({}) is None
    assert read_usage({"total_tokens": 0}) is None
