"""Anthropic's dialect from outside: what answers and their events tell, and how errors look."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway import errors
from gateway.dialects.anthropic import ANTHROPIC
from gateway.dialects.dialect import LENGTH, TOOL_CALLS
from gateway.dialects.surfaces import SURFACES
from gateway.errors import GatewayError
from gateway.forwarding.tap import StreamTap

CONTENT = [
    {"type": "thinking", "thinking": "Hm. ", "signature": "c2lnbmVk"},
    {"type": "redacted_thinking", "data": "c2VjcmV0"},
    {"type": "text", "text": "I look. ", "citations": [{"cited_text": "not mine"}]},
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "q"}},
    {"type": "web_search_tool_result", "tool_use_id": "s1", "content": [{"title": "not mine"}]},
    {"type": "tool_use", "id": "t1", "name": "get", "input": {}},
    {"type": "text", "text": '{"a":1}'},
    {"type": "compaction", "content": " So far."},
]


def event(kind: str, **fields: Any) -> bytes:
    document = {"type": kind, **fields}
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(document))


def delta(**fields: Any) -> bytes:
    return event("content_block_delta", index=0, delta=fields)


STREAM = [
    event("message_start", message={"model": "claude-haiku-4-5", "content": [], "stop_reason": None,
          "usage": {"input_tokens": 20, "output_tokens": 1}}),
    event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
    event("ping"),
    delta(type="thinking_delta", thinking="Hm. "),
    delta(type="signature_delta", signature="c2lnbmVk"),
    event("content_block_stop", index=0),
    event("content_block_start", index=1, content_block={"type": "text", "text": ""}),
    delta(type="text_delta", text="{"),
    delta(type="citations_delta", citation={"cited_text": "not mine"}),
    delta(type="text_delta", text='"usage": {}}'),
    event("content_block_stop", index=1),
    event("content_block_start", index=2, content_block={"type": "tool_use", "name": "get", "input": {}}),
    delta(type="input_json_delta", partial_json=""),
    delta(type="input_json_delta", partial_json='{"city":'),
    delta(type="input_json_delta", partial_json='"Rome"}'),
    event("content_block_stop", index=2),
    event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 31}),
    event("message_stop"),
]  # fmt: skip


def tapped(*events: bytes) -> StreamTap:
    tap = StreamTap(SURFACES["messages"], strip_usage=True)
    assert b"".join(tap.feed(each) for each in events) + tap.end() == b"".join(events)
    tap.conclude()
    return tap


def test_all_that_a_model_produced_is_its_text_and_nothing_else() -> None:
    message = {"type": "message", "content": CONTENT}
    assert ANTHROPIC.text(message) == 'Hm. I look. web_search{"query":"q"}get{"a":1} So far.'
    assert ANTHROPIC.answer_text(message) == 'I look. {"a":1}'


def test_a_stream_tells_text_usage_reason_and_end() -> None:
    tap = tapped(*STREAM)
    assert tap.done
    assert tap.error is None
    assert tap.reading.model == "claude-haiku-4-5"
    assert tap.reading.usage is not None
    assert (tap.reading.usage.input_tokens, tap.reading.usage.output_tokens) == (20, 31)
    assert tap.reasons == {TOOL_CALLS}
    assert tap.text() == 'Hm. {"usage": {}}get{"city":"Rome"}'
    assert tap.text(ANTHROPIC.answer_text) == '{"usage": {}}'


@pytest.mark.parametrize("kept", range(1, len(STREAM)))
def test_a_stream_without_its_last_event_is_not_complete(kept: int) -> None:
    tap = tapped(*STREAM[:kept])
    assert not tap.done
    assert tap.reading.usage is not None


def test_an_error_ends_a_stream_wherever_it_stands() -> None:
    fault = {"type": "overloaded_error", "message": "Overloaded"}
    for place in (1, 9, len(STREAM) - 1):
        tap = tapped(*STREAM[:place], event("error", error=fault))
        assert not tap.done
        assert tap.error == fault


@pytest.mark.parametrize(
    ("told", "reason"),
    [("max_tokens", LENGTH), ("tool_use", TOOL_CALLS), ("end_turn", "end_turn"), ("refusal", "refusal")],
)
def test_a_reason_is_told_by_a_whole_message_and_by_the_delta_that_ends_one(told: str, reason: str) -> None:
    assert ANTHROPIC.reasons({"type": "message", "stop_reason": told}) == [reason]
    assert ANTHROPIC.reasons({"type": "message_delta", "delta": {"stop_reason": told}}) == [reason]
    assert ANTHROPIC.reasons({"type": "message_delta", "delta": {"stop_reason": None}}) == []


@pytest.mark.parametrize(
    "hostile",
    [{}, {"content": 3}, {"content": [3, {"type": "text", "text": 7}]}, {"type": "content_block_delta"},
     {"type": "content_block_delta", "delta": {"text": []}}, {"type": "content_block_start"},
     {"type": "message_delta", "delta": []}, {"stop_reason": {}}, {"type": []}, {"error": 3}],
)  # fmt: skip
def test_what_is_not_as_it_should_be_tells_nothing(hostile: dict[str, Any]) -> None:
    assert ANTHROPIC.text(hostile) == ANTHROPIC.answer_text(hostile) == ""
    assert ANTHROPIC.reasons(hostile) == []
    assert not ANTHROPIC.ends(b"", hostile)
    assert not ANTHROPIC.failed(hostile)


ROWS: list[tuple[GatewayError, str]] = [
    (errors.BadRequest("m"), "invalid_request_error"),
    (errors.BadKey("m"), "authentication_error"),
    (errors.BudgetExhausted("m"), "billing_error"),
    (errors.Forbidden("m"), "permission_error"),
    (errors.NotFound("m"), "not_found_error"),
    (errors.WrongMethod("m"), "invalid_request_error"),
    (errors.SlowRequest("m"), "timeout_error"),
    (errors.RequestFinished("id", "succeeded", "0.1"), "conflict_error"),
    (errors.TooLarge("m"), "request_too_large"),
    (errors.IdempotencyMismatch("id"), "invalid_request_error"),
    (errors.BudgetReserved("m"), "rate_limit_error"),
    (errors.RateLimited("m"), "rate_limit_error"),
    (errors.Misconfigured("m"), "api_error"),
    (errors.Unavailable("m"), "overloaded_error"),
    (errors.UpstreamError("m"), "api_error"),
    (errors.UpstreamTimeout("m"), "timeout_error"),
]


@pytest.mark.parametrize(("error", "kind"), ROWS, ids=[type(error).__name__ for error, _ in ROWS])
def test_an_error_has_anthropics_shape_and_our_code(error: GatewayError, kind: str) -> None:
    told = orjson.loads(ANTHROPIC.error_body(error, "what is wrong", "id-1"))
    assert (told["type"], told["request_id"]) == ("error", "id-1")
    inner = told["error"]
    assert (inner["type"], inner["message"], inner["code"]) == (kind, "what is wrong", error.code)
    assert inner["details"] == {"error_code": error.code}
    assert inner["param"] == error.param
    assert {**inner, **error.details} == inner


def test_an_error_in_a_stream_is_an_event_that_is_read_as_one() -> None:
    raw = ANTHROPIC.error_event("broke off", "upstream_error", "upstream_error")
    assert raw.startswith(b"event: error\ndata: ")
    tap = tapped(*STREAM[:8], raw)
    assert tap.error is not None
    assert (tap.error["type"], tap.error["code"]) == ("api_error", "upstream_error")
    drained = orjson.loads(ANTHROPIC.error_event("m", "server_error", "draining")[19:])
    assert drained["error"]["type"] == "overloaded_error"


def test_version_and_betas_go_to_the_provider_and_the_version_has_a_default() -> None:
    sent = [(b"anthropic-version", b"2023-01-01"), (b"x-other", b"1"), (b"anthropic-beta", b"a"),
            (b"anthropic-beta", b"b"), (b"anthropic-dangerous-direct-browser-access", b"true")]  # fmt: skip
    assert ANTHROPIC.passed(sent) == [sent[0], sent[2], sent[3]]
    assert ANTHROPIC.passed([]) == [(b"anthropic-version", b"2023-06-01")]
