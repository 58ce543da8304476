"""What refusals say, in the words that providers really use."""

from __future__ import annotations

import orjson
import pytest

from routing.outcome import Outcome
from routing.refusal import first_words, read


def claude(kind: str, message: str, code: str | None = None) -> dict[str, object]:
    """An error in Anthropic's shape."""
    error = {"type": kind, "message": message} | ({"details": {"error_code": code}} if code else {})
    return {"type": "error", "error": error, "request_id": "req_1"}


TOO_LONG = [
    # OpenAI; Azure and Groq use the same code
    (
        400,
        {
            "error": {
                "message": "too long",
                "type": "invalid_request_error",
                "code": "context_length_exceeded",
            }
        },
    ),
    # vLLM and DeepSeek: a code that says nothing, and OpenAI's sentence
    (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 4096 tokens.",
            "type": "BadRequestError",
            "code": 400,
        },
    ),
    # Mistral
    (
        400,
        {
            "object": "error",
            "message": "Prompt contains 65673 tokens and 0 draft tokens, too "
            "large for model with 32768 maximum context length",
            "type": "invalid_request_prompt",
            "code": "3051",
        },
    ),
    # Gemini's compatible endpoint, in an array
    (
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The input token count (1200000) exceeds the maximum number of tokens",
                }
            }
        ],
    ),
    # xAI
    (
        400,
        {
            "code": "Client specified an invalid argument",
            "error": "This model's maximum prompt length is 131072",
        },
    ),
    # Bedrock
    (400, {"message": "Input is too long for requested model."}),
    # Fireworks
    (400, {"error": {"message": "The prompt is too long: 140000, model maximum context length: 131071"}}),
    # text-generation-inference, Together
    (
        422,
        {"error": {"message": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097"}},
    ),
    (413, {"error": {"message": "Please reduce the length of the messages.", "code": None}}),
    # Anthropic: the prompt alone, and the prompt with its maximum
    (400, claude("invalid_request_error", "prompt is too long: 212345 tokens > 200000 maximum")),
    (
        400,
        claude(
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input "
            "length or `max_tokens` and try again",
        ),
    ),
]


@pytest.mark.parametrize(("status", "body"), TOO_LONG)
def test_a_prompt_that_is_too_long_is_recognised(status: int, body: object) -> None:
    assert read(status, orjson.dumps(body)) is Outcome.CONTEXT_TOO_LONG


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (
            400,
            {
                "error": {
                    "message": "The response was filtered due to the prompt triggering Azure's content "
                    "management policy.",
                    "code": "content_filter",
                    "innererror": {"code": "ResponsibleAIPolicyViolation"},
                }
            },
        ),
        (400, {"error": {"message": "no", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}),
        (400, {"error": {"message": "Rejected by our safety system", "code": "content_policy_violation"}}),
        (
            403,
            {"error": {"message": "This model requires moderation; your input was flagged by it"}},
        ),
    ],
)
def test_a_content_policy_is_recognised(status: int, body: object) -> None:
    assert read(status, orjson.dumps(body)) is Outcome.CONTENT_POLICY


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, {"error": {"message": "The model `gpt-9` does not exist", "code": "model_not_found"}}),
        (400, {"object": "error", "message": "Invalid model: mistral-huge", "code": "1500"}),
        (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}),
        (
            400,
            {"error": {"message": "The model `x` has been decommissioned", "code": "model_decommissioned"}},
        ),
    ],
)
def test_a_model_that_does_not_exist_there_is_recognised(status: int, body: object) -> None:
    assert read(status, orjson.dumps(body)) is Outcome.NO_SUCH_MODEL


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (
            400,
            b'{"error":{"message":"messages[0].role is wrong","code":"invalid_value"}}',
            Outcome.CALLERS_FAULT,
        ),
        (401, b'{"error":{"message":"maximum context length"}}', Outcome.CREDENTIAL),
        (402, b'{"error":{"message":"Insufficient Balance"}}', Outcome.CREDENTIAL),
        (403, b"<html>Forbidden</html>", Outcome.CREDENTIAL),
        (500, b'{"error":{"code":"context_length_exceeded"}}', Outcome.SERVER_ERROR),
        (400, b"\xff\xfe not json", Outcome.CALLERS_FAULT),
        (400, b"[]", Outcome.CALLERS_FAULT),
        (400, b"3", Outcome.CALLERS_FAULT),
        (400, b"", Outcome.CALLERS_FAULT),
    ],
)
def test_everything_else_stays_what_its_status_says(status: int, body: bytes, outcome: Outcome) -> None:
    assert read(status, body) is outcome


def test_an_error_event_without_a_known_word_may_have_cost_something() -> None:
    assert first_words({"message": "Overloaded", "code": "overloaded"}) is Outcome.ERROR_IN_STREAM
    assert first_words({"message": "x", "code": "context_length_exceeded"}) is Outcome.CONTEXT_TOO_LONG
    assert first_words({"message": "x", "code": "content_filter"}) is Outcome.CONTENT_POLICY


@pytest.mark.parametrize(
    ("status", "kind", "message", "code", "outcome"),
    [
        (529, "overloaded_error", "Overloaded", None, Outcome.SERVER_ERROR),
        (500, "api_error", "Internal server error", None, Outcome.SERVER_ERROR),
        (504, "timeout_error", "Request timed out", None, Outcome.SERVER_ERROR),
        (409, "conflict_error", "Busy", None, Outcome.SERVER_ERROR),
        (401, "authentication_error", "invalid x-api-key", None, Outcome.CREDENTIAL),
        (402, "billing_error", "Your credit balance is too low.", None, Outcome.CREDENTIAL),
        (403, "permission_error", "Your API key may not.", None, Outcome.CREDENTIAL),
        (404, "not_found_error", "model: claude-9", None, Outcome.NO_SUCH_MODEL),
        (413, "request_too_large", "Request exceeds the maximum size", None, Outcome.CALLERS_FAULT),
        (400, "invalid_request_error", "max_tokens: Field required", None, Outcome.CALLERS_FAULT),
        (
            400,
            "invalid_request_error",
            "max_tokens: 70000 > 64000, which is the maximum allowed number of output tokens",
            None,
            Outcome.CALLERS_FAULT,
        ),
        (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
            None,
            Outcome.CREDENTIAL,
        ),
        (
            400,
            "invalid_request_error",
            "You have reached your specified API usage limits. You will regain access on 2026-12-01.",
            None,
            Outcome.CREDENTIAL,
        ),
        (
            400,
            "invalid_request_error",
            "You have reached your specified workspace API usage limits.",
            None,
            Outcome.CREDENTIAL,
        ),
        (
            400,
            "invalid_request_error",
            "Output blocked by content filtering policy",
            None,
            Outcome.CONTENT_POLICY,
        ),
        (
            429,
            "rate_limit_error",
            "This request would exceed your organization's rate limit of 30,000 input tokens per minute. "
            "Please reduce the length of the prompt or try again later.",
            None,
            Outcome.RATE_LIMITED,
        ),
        (
            429,
            "rate_limit_error",
            "Your organization has reached its spend limit.",
            "enforced_spend_limit_reached",
            Outcome.CREDENTIAL,
        ),
        (429, "rate_limit_error", "Spent.", "contract_spend_limit_reached", Outcome.CREDENTIAL),
        (429, "rate_limit_error", "Too fast.", "ramp_limit_exceeded", Outcome.RATE_LIMITED),
        (400, "invalid_request_error", "On hold.", "organization_on_hold", Outcome.CREDENTIAL),
    ],
)
def test_anthropics_refusals(
    status: int, kind: str, message: str, code: str | None, outcome: Outcome
) -> None:
    assert read(status, orjson.dumps(claude(kind, message, code))) is outcome


def test_an_error_at_the_beginning_of_anthropics_stream() -> None:
    overloaded = {"type": "overloaded_error", "message": "Overloaded"}
    assert first_words(overloaded) is Outcome.ERROR_IN_STREAM
    too_long = {"type": "invalid_request_error", "message": "prompt is too long: 3 tokens > 2 maximum"}
    assert first_words(too_long) is Outcome.CONTEXT_TOO_LONG
