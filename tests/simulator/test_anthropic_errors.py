"""What Anthropic refuses, and how its own client takes it."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import pytest

from simulator.process import Simulator
from tests.simulator.claude import HELLO, WEATHER, ask, user

ERRORS = {
    400: ("BadRequestError", "invalid_request_error"),
    401: ("AuthenticationError", "authentication_error"),
    402: ("PaymentRequiredError", "billing_error"),
    403: ("PermissionDeniedError", "permission_error"),
    404: ("NotFoundError", "not_found_error"),
    409: ("ConflictError", "conflict_error"),
    413: ("ContentTooLargeError", "request_too_large"),
    429: ("RateLimitError", "rate_limit_error"),
    500: ("InternalServerError", "api_error"),
    503: ("ServiceUnavailableError", "api_error"),
    504: ("GatewayTimeoutError", "timeout_error"),
    529: ("OverloadedError", "overloaded_error"),
}


@pytest.mark.parametrize("status", ERRORS)
def test_every_error_is_its_own_class_and_free(
    claude: anthropic.Anthropic, simulator: Simulator, status: int
) -> None:
    name, kind = ERRORS[status]
    with pytest.raises(anthropic.APIStatusError) as caught:
        ask(claude, messages=user(f"[[simulate: status={status} retry_after=3]]"))
    assert type(caught.value).__name__ == name
    assert caught.value.type == kind
    assert caught.value.response.headers["retry-after"] == "3"
    assert caught.value.request_id == caught.value.body["request_id"]
    assert simulator.total_nano() == 0


def test_an_error_in_the_middle_of_a_stream_is_raised(
    claude: anthropic.Anthropic, simulator: Simulator
) -> None:
    stream = ask(claude, stream=True, messages=user("[[simulate: error_in_stream=3]]"))
    with pytest.raises(anthropic.APIStatusError) as caught:
        list(stream)
    assert caught.value.type == "overloaded_error"
    assert simulator.bill()["requests"][0]["completion_tokens"] == 3


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": 200_000}, "max_tokens: 200000 > 128000, which is the maximum allowed"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role: Input should be"),
        ({"extra_body": {"stop": "x"}}, "stop: Extra inputs are not permitted"),
        ({"tool_choice": {"type": "any"}}, "tools must be given"),
        ({"tool_choice": {"type": "tool", "name": "x"}, "tools": [WEATHER]}, "Tool 'x' not found"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1000}}, "greater than or equal to 1024"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "`max_tokens` must be greater than"),
        (
            {"thinking": {"type": "adaptive"}, "tools": [WEATHER], "tool_choice": {"type": "any"}},
            "Thinking may not be enabled when tool_choice forces tool use.",
        ),
        ({"speed": "fast", "model": "claude-sonnet-5"}, "does not support fast mode"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_x"}]}]},
            "unexpected `tool_use_id` found in `tool_result` blocks: toolu_x",
        ),
        (
            {
                "messages": [
                    HELLO,
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "toolu_y", "name": "x", "input": {}}],
                    },
                    HELLO,
                ]
            },
            "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_y",
        ),
    ],
)
def test_what_anthropic_refuses_is_refused_in_its_words(
    claude: anthropic.Anthropic, simulator: Simulator, more: Any, message: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        ask(claude, **more)
    assert message in caught.value.api_message
    assert simulator.total_nano() == 0


def test_an_unknown_model_is_not_found(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        ask(claude, model="claude-9")
    assert caught.value.api_message == "model: claude-9"


@pytest.mark.parametrize(
    ("headers", "status", "message"),
    [
        ({"anthropic-version": "2023-06-01"}, 401, "x-api-key header is required"),
        ({"anthropic-version": "2023-06-01", "x-api-key": "obs_leaked"}, 401, "invalid x-api-key"),
        ({"x-api-key": "sk-ant-x"}, 400, "anthropic-version: header is required"),
    ],
)
def test_credentials_and_version_are_checked(
    simulator: Simulator, headers: dict[str, str], status: int, message: str
) -> None:
    body = {"model": "claude-opus-4-8", "max_tokens": 5, "messages": [HELLO]}
    answer = httpx2.post(f"{simulator.root}/v1/messages", json=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, message)


def test_max_tokens_must_be_said(http: httpx2.Client) -> None:
    body = {"model": "claude-opus-4-8", "messages": [HELLO]}
    answer = http.post("/v1/messages", json=body, headers={"anthropic-version": "2023-06-01"})
    assert answer.json()["error"] == {
        "type": "invalid_request_error", "message": "max_tokens: Field required",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "half"),
    [
        ({}, 20),
        ({"thinking": {"type": "adaptive"}}, 4 * 52),  # 64 events of thinking, 4 tokens each, and 40 of text
        ({"tools": [WEATHER]}, None),
    ],
)
def test_an_error_comes_halfway_when_it_is_not_said_where(
    claude: anthropic.Anthropic, simulator: Simulator, more: Any, half: int | None
) -> None:
    stream = ask(claude, stream=True, messages=user("Hi [[simulate: error_in_stream]]"), **more)
    with pytest.raises(anthropic.APIStatusError):
        list(stream)
    (entry,) = simulator.bill()["requests"]
    if half is None:
        # The tool's name is one event of as many tokens as it has, each piece of its arguments another.
        asked = ask(claude, **more).usage.output_tokens
        assert 0 < entry["completion_tokens"] < asked
    else:
        assert entry["completion_tokens"] == half
