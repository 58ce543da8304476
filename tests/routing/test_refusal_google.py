"""What Google's refusals mean, at the Gemini API and at Vertex AI."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from routing.outcome import RULES, Outcome
from routing.refusal import first_words, read, wait_s

TYPE = "type.googleapis.com/google.rpc."
INFO = {"@type": f"{TYPE}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
QUOTA = {"@type": f"{TYPE}QuotaFailure", "violations": [{"quotaId": "PerDay"}]}


def body(status: int, message: str, word: str, *details: dict[str, Any], wrapped: bool = False) -> bytes:
    error = {"error": {"code": status, "message": message, "status": word, "details": list(details)}}
    return orjson.dumps([error] if wrapped else error)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("status", "message", "word", "details", "outcome"),
    [
        (429, "Resource exhausted. Please try again later.", "RESOURCE_EXHAUSTED", (QUOTA,),
         Outcome.RATE_LIMITED),
        (503, "The model is overloaded. Please try again later.", "UNAVAILABLE", (), Outcome.SERVER_ERROR),
        (500, "An internal error has occurred.", "INTERNAL", (), Outcome.SERVER_ERROR),
        (504, "Deadline expired before operation could complete.", "DEADLINE_EXCEEDED", (),
         Outcome.SERVER_ERROR),
        (400, "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).",
         "INVALID_ARGUMENT", (), Outcome.CONTEXT_TOO_LONG),
        (400, "Request contains an invalid argument.", "INVALID_ARGUMENT", (), Outcome.CALLERS_FAULT),
        (400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", (INFO,),
         Outcome.CREDENTIAL),
        (400, "API key expired. Please renew the API key.", "INVALID_ARGUMENT", (INFO,), Outcome.CREDENTIAL),
        (400, "User location is not supported for the API use.", "FAILED_PRECONDITION", (),
         Outcome.CREDENTIAL),
        (401, "Request had invalid authentication credentials.", "UNAUTHENTICATED", (), Outcome.CREDENTIAL),
        (403, "Your API key was reported as leaked.", "PERMISSION_DENIED", (), Outcome.CREDENTIAL),
        (403, "Permission 'aiplatform.endpoints.predict' denied on resource '//x' (or it may not exist).",
         "PERMISSION_DENIED", (), Outcome.CREDENTIAL),
        (403, "You do not have permission to access the File abc-123 or it may not exist.",
         "PERMISSION_DENIED", (), Outcome.CALLERS_FAULT),
        (403, "CachedContent not found (or permission denied)", "PERMISSION_DENIED", (),
         Outcome.CALLERS_FAULT),
        (404, "models/gemini-9 is not found for API version v1beta, or is not supported for generateContent.",
         "NOT_FOUND", (), Outcome.NO_SUCH_MODEL),
        (404, "Publisher Model `projects/p/locations/global/publishers/google/models/gemini-9` was not found "
         "or your project does not have access to it.", "NOT_FOUND", (), Outcome.NO_SUCH_MODEL),
    ],
)  # fmt: skip
def test_googles_refusals(
    status: int,
    message: str,
    word: str,
    details: tuple[dict[str, Any], ...],
    outcome: Outcome,
    wrapped: bool,
) -> None:
    assert read(status, body(status, message, word, *details, wrapped=wrapped)) is outcome


def test_what_a_caller_names_does_not_set_our_credential_aside() -> None:
    assert RULES[Outcome.CREDENTIAL].aside
    assert not RULES[Outcome.CALLERS_FAULT].aside


@pytest.mark.parametrize(
    ("told", "seconds"),
    [("37s", 37.0), ("0.847655010s", 0.84765501), ("37", None), (37, None), ("-1s", None), ("1e9s", None)],
)
def test_how_long_google_asks_to_wait(told: object, seconds: float | None) -> None:
    info = {"@type": f"{TYPE}RetryInfo", "retryDelay": told}
    for wrapped in (False, True):
        refused = body(429, "x", "RESOURCE_EXHAUSTED", QUOTA, info, wrapped=wrapped)
        assert wait_s(429, refused) == seconds
        assert wait_s(503, refused) == seconds
        assert wait_s(400, refused) is None


@pytest.mark.parametrize(
    "refused",
    [b"", b"retryDelay", b'["retryDelay"]', b'{"error":"retryDelay"}',
     b'{"error":{"details":{"retryDelay":"1s"}}}', b'{"error":{"details":["retryDelay"]}}'],
)  # fmt: skip
def test_a_body_of_another_shape_asks_for_nothing(refused: bytes) -> None:
    assert wait_s(429, refused) is None


def test_an_error_at_the_beginning_of_a_stream() -> None:
    long = {"code": 400, "message": "The input token count (9) exceeds the maximum number of tokens (8)."}
    assert first_words(long) is Outcome.CONTEXT_TOO_LONG
    assert first_words({"code": 503, "status": "UNAVAILABLE"}) is Outcome.ERROR_IN_STREAM
