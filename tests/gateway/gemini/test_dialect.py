"""Google's dialect by itself: what streams, answers and errors say."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from google.genai import errors

from gateway.dialects import SURFACES
from gateway.dialects.dialect import LENGTH
from gateway.dialects.gemini import GEMINI
from gateway.dialects.gemini_array import GEMINI_ARRAY, event_data, events, last_boundary
from gateway.dialects.surfaces import find_surface
from gateway.errors import (
    BadKey,
    BadRequest,
    BudgetExhausted,
    BudgetReserved,
    Forbidden,
    GatewayError,
    Misconfigured,
    NotFound,
    RateLimited,
    RequestFinished,
    TooLarge,
    Unavailable,
    UpstreamError,
    UpstreamTimeout,
)
from gateway.forwarding.tap import StreamTap

GENERATE, ARRAY = SURFACES["generateContent"], SURFACES["generateContent.array"]


def chunk(text: str = "", finish: str | None = None, made: int = 0, **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 7, "candidatesTokenCount": made, "totalTokenCount": 7 + made}
    return {"candidates": [{**candidate, **more}], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}


def sse(*documents: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(each) + b"\r\n\r\n" for each in documents)


def array(*documents: dict[str, Any]) -> bytes:
    lines = [orjson.dumps(each, option=orjson.OPT_INDENT_2) for each in documents]
    return b"[" + b"\n,\r\n".join(lines) + b"\n]"


def tapped(data: bytes, size: int, *, whole: bool = True, surface: Any = GENERATE) -> StreamTap:
    tap = StreamTap(surface, strip_usage=False)
    came = b"".join(tap.feed(data[at : at + size]) for at in range(0, len(data), size))
    assert came + tap.end() == data
    tap.conclude()
    assert tap.done == whole
    return tap


STREAM = [chunk("One, ", made=2), chunk('two "}] {', made=5), chunk("three.", "STOP", 8)]


@pytest.mark.parametrize("size", [1, 7, 211, 10_000])
def test_a_stream_is_read_at_its_end_however_it_comes(size: int) -> None:
    for surface, data in ((GENERATE, sse(*STREAM)), (ARRAY, array(*STREAM))):
        tap = tapped(data, size, surface=surface)
        assert tap.text() == 'One, two "}] {three.'
        assert tap.reading.usage is not None
        assert (tap.reading.usage.input_tokens, tap.reading.usage.output_tokens) == (7, 8)
        assert (tap.reading.model, tap.reasons, tap.error) == ("gemini-2.5-flash", {"STOP"}, None)


def test_without_a_finish_reason_a_stream_was_cut() -> None:
    for surface, data in ((GENERATE, sse(*STREAM[:2])), (ARRAY, array(*STREAM[:2])[:-1])):
        tap = tapped(data, 100, whole=False, surface=surface)
        assert tap.reading.usage is not None
        assert tap.reading.usage.output_tokens == 5  # so far: no last word
    assert GEMINI.interim_usage


def test_a_blocked_prompt_is_a_whole_answer() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    tapped(sse(blocked), 10_000)
    assert not GEMINI.failed(blocked)


def test_the_output_maximum_has_the_name_that_all_dialects_give_it() -> None:
    assert GEMINI.reasons(chunk("x", "MAX_TOKENS")) == [LENGTH]
    assert GEMINI.reasons(chunk("x", "MALFORMED_FUNCTION_CALL")) == ["MALFORMED_FUNCTION_CALL"]
    assert GEMINI.reasons(chunk("x")) == []


def test_searches_are_read_in_whichever_chunk_they_stand() -> None:
    found = chunk("a", groundingMetadata={"webSearchQueries": ["one", "two"]})
    tap = tapped(sse(found, *[chunk("b", made=n) for n in range(40)], chunk("c", "STOP", 50)), 10_000)
    assert tap.reading.usage is not None
    assert dict(tap.reading.usage.extra)["web_searches"] == 2


def test_an_error_inside_a_stream_is_found_in_it() -> None:
    fault = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    for surface, data in ((GENERATE, sse(STREAM[0], fault)), (ARRAY, array(STREAM[0], fault))):
        tap = tapped(data, 50, whole=False, surface=surface)
        assert tap.error == fault["error"]


def test_what_the_model_said_is_text_thoughts_functions_and_code() -> None:
    parts = [
        {"text": "thinking ", "thought": True},
        {"text": "answer"},
        {"functionCall": {"name": "look", "args": {"at": "it"}}},
        {"executableCode": {"language": "PYTHON", "code": "print(1)"}},
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"functionCall": None},
        7,
    ]
    document = {"candidates": [{"content": {"parts": parts}}, {"content": None}, None]}
    assert GEMINI.text(document) == 'thinking answerlook{"at":"it"}print(1)'
    assert GEMINI.answer_text(document) == "answer"
    for odd in ({}, {"candidates": 5}, {"candidates": [{"content": {"parts": "text"}}]}):
        assert (GEMINI.text(odd), GEMINI.reasons(odd), GEMINI.ends(b"", odd)) == ("", [], False)


ROWS = [
    (BadKey(), "UNAUTHENTICATED", "invalid_api_key"),
    (Forbidden(), "PERMISSION_DENIED", "insufficient_scope"),
    (BudgetExhausted(), "FAILED_PRECONDITION", "budget_exceeded"),
    (BadRequest("x", param="contents[0]", code="invalid_type"), "INVALID_ARGUMENT", "invalid_type"),
    (NotFound("x", code="model_not_found"), "NOT_FOUND", "model_not_found"),
    (RequestFinished("id", "succeeded", "0.1"), "ABORTED", "request_finished"),
    (TooLarge(), "INVALID_ARGUMENT", "request_too_large"),
    (BudgetReserved(retry_after_s=3), "RESOURCE_EXHAUSTED", "budget_reserved"),
    (RateLimited(retry_after_s=9), "RESOURCE_EXHAUSTED", "rate_limit_exceeded"),
    (Misconfigured(), "INTERNAL", "misconfigured"),
    (Unavailable(), "UNAVAILABLE", "ledger_unavailable"),
    (UpstreamError(), "INTERNAL", "upstream_error"),
    (UpstreamTimeout(), "DEADLINE_EXCEEDED", "upstream_timeout"),
]


@pytest.mark.parametrize(("error", "status", "reason"), ROWS, ids=[row[2] for row in ROWS])
def test_errors_have_googles_shape(error: GatewayError, status: str, reason: str) -> None:
    document = orjson.loads(GEMINI.error_body(error, error.message, "request-1"))["error"]
    assert (document["code"], document["status"]) == (error.status, status)
    assert document["message"] == error.message
    details = {each["@type"].rpartition(".")[2]: each for each in document["details"]}
    info = details["ErrorInfo"]
    assert (info["reason"], info["domain"]) == (reason, "tollkeeper")
    assert info["metadata"]["request_id"] == "request-1"
    assert all(isinstance(value, str) for value in info["metadata"].values())
    assert ("RetryInfo" in details) == (error.retry_after_s is not None)
    if error.retry_after_s is not None:
        assert details["RetryInfo"]["retryDelay"] == f"{error.retry_after_s}s"
    if error.param is not None:
        assert details["BadRequest"]["fieldViolations"][0]["field"] == error.param


def test_an_error_in_a_running_stream_ends_it() -> None:
    event = GEMINI.error_event("It broke off.", "upstream_error", "upstream_error")
    tap = tapped(sse(STREAM[0]) + event, 10_000, whole=False)
    assert tap.error is not None
    assert (tap.error["code"], tap.error["status"]) == (502, "INTERNAL")
    told = orjson.loads(GEMINI.event_data(event) or b"")
    with pytest.raises(errors.ServerError):
        errors.APIError.raise_error(told["error"]["code"], told, None)
    drained = orjson.loads(GEMINI.event_data(GEMINI.error_event("x", "server_error", "draining")) or b"")
    assert (drained["error"]["code"], drained["error"]["status"]) == (503, "UNAVAILABLE")
    key = orjson.loads(GEMINI.event_data(GEMINI.error_event("x", BadKey.type, "invalid_api_key")) or b"")
    assert (key["error"]["code"], key["error"]["status"]) == (401, "UNAUTHENTICATED")
    cut = b"[" + orjson.dumps(STREAM[0]) + GEMINI_ARRAY.error_event("x", "upstream_error", "upstream_error")
    assert [sorted(each) for each in orjson.loads(cut)][1] == ["error"]


def test_an_array_is_divided_into_its_elements() -> None:
    data = array({"a": "}{"}, {"b": {"c": ['\\"', "]"]}}, {})
    assert list(events(data)) == [data[: data.index(b"}\n,") + 1], *list(events(data))[1:]]
    assert b"".join(events(data)) == data
    found = [event_data(each) for each in events(data)]
    assert [orjson.loads(each) for each in found if each] == [{"a": "}{"}, {"b": {"c": ['\\"', "]"]}}, {}]
    assert last_boundary(data) == len(data)
    assert last_boundary(data[:-1]) == len(data) - 1
    assert last_boundary(b"") == last_boundary(b"[") == last_boundary(b'[{"a": "b') == 0
    assert last_boundary(b'[{"a": "}"') == 0
    assert last_boundary(b"[]") == 2
    for cut in range(len(data)):
        end = last_boundary(data[:cut])
        assert b"".join(events(data[:end])) == data[:end]


@pytest.mark.parametrize(
    "path",
    [
        "/v1beta/models/gemini/gemini-2.5-flash",
        "/v1/models/m",
        "/v1beta1/projects/p/locations/l/publishers/google/models/vertex/m",
        "/v1/projects/p/locations/l/publishers/google/models/m",
        "/v1beta1/publishers/google/models/m",
    ],
)
def test_paths_of_both_of_googles_apis_are_found(path: str) -> None:
    for verb, name, stream in (
        ("generateContent", "generateContent", None),
        ("streamGenerateContent", "generateContent", True),
        ("countTokens", "countTokens", None),
        ("embedContent", "embedContent", None),
        ("batchEmbedContents", "batchEmbedContents", None),
        ("predict", "predict", None),
    ):
        found = find_surface("POST", f"{path}:{verb}")
        assert found is not None
        surface, place = found
        assert (surface.name, place.get("stream")) == (name, stream)
        assert place["model"] == path.rpartition("/models/")[2]
    assert find_surface("POST", f"{path}:tuneModel") is None
    assert find_surface("GET", f"{path}:generateContent") is None


def test_nobody_finds_the_surface_of_arrays_by_a_path() -> None:
    assert ARRAY.paths == ARRAY.stream_paths == ()
    assert find_surface("POST", "/v1beta/models/m:array") is None
