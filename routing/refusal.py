"""What a refusal says: a prompt that is too long, a content policy, a model that does not exist. Pure.

Providers of the OpenAI format agree on statuses but not on codes, so the known words are listed here, each
with the providers that use it. A refusal that is not recognised stays what its status says.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from routing.outcome import Outcome, of_status

READ = frozenset({400, 403, 404, 413, 422, 429, 451})
"""Statuses whose body can say more than the status does; of 429 only the codes."""

_CODES = {
    "context_length_exceeded": Outcome.CONTEXT_TOO_LONG,  # OpenAI, Azure, Groq, Cerebras, xAI
    "prompt_too_long": Outcome.CONTEXT_TOO_LONG,
    "content_filter": Outcome.CONTENT_POLICY,  # Azure
    "content_policy_violation": Outcome.CONTENT_POLICY,  # OpenAI
    "ResponsibleAIPolicyViolation": Outcome.CONTENT_POLICY,  # Azure, in innererror
    "moderation_blocked": Outcome.CONTENT_POLICY,  # OpenAI
    "data_inspection_failed": Outcome.CONTENT_POLICY,
    "DeploymentNotFound": Outcome.NO_SUCH_MODEL,  # Azure
    "model_not_found": Outcome.NO_SUCH_MODEL,  # OpenAI, Groq, Together, Fireworks
    "model_decommissioned": Outcome.NO_SUCH_MODEL,  # Groq
    "API_KEY_INVALID": Outcome.CREDENTIAL,  # Google, with 400
    "enforced_spend_limit_reached": Outcome.CREDENTIAL,  # Anthropic's 429 until the next month
    "contract_spend_limit_reached": Outcome.CREDENTIAL,  # Anthropic's 429
    "organization_on_hold": Outcome.CREDENTIAL,  # Anthropic's 400
}

_TOO_LONG = re.compile(
    r"maximum context length"  # OpenAI, vLLM, DeepSeek, OpenRouter, Together, Fireworks
    r"|context (?:length|window) (?:of|is|exceeded)"
    r"|exceeds? the (?:model'?s? )?(?:maximum |max )?context"
    r"|maximum prompt length"  # xAI
    r"|prompt is too long"  # Anthropic, Fireworks
    r"|exceed context limit"  # Anthropic, where the prompt fits and the maximum beside it does not
    r"|input is too long"  # Bedrock
    r"|input token count .{0,40} exceeds"  # Gemini
    r"|too large for model .{0,80} maximum context"  # Mistral
    r"|(?:inputs?\W{0,2} tokens?|input length) .{0,60}must be (?:<=|less|at most)"  # Hugging Face
    r"|reduce the length of (?:the|your) (?:messages|prompt|input)",  # OpenAI, Groq, Cerebras
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content management policy"  # Azure
    r"|content (?:policy|filter)"
    r"|flagged (?:by|as|for)"  # OpenAI, OpenRouter's moderation (403)
    r"|violat\w+ .{0,40}(?:usage|safety|content) (?:policy|policies|guidelines)",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"(?:invalid model|model .{0,120}(?:does not exist|not found|decommissioned|not supported))"
    r"|models/\S{1,200} (?:is|was) not found",  # Gemini, Vertex AI
    re.IGNORECASE,
)
_NOT_OURS_TO_SHOW = re.compile(
    r"permission to access the .{1,200} or it may not exist"  # Gemini: a file
    r"|CachedContent not found",  # Gemini, Vertex AI
    re.IGNORECASE,
)
"""What the caller named, told with 403: no fault of our credential."""
_NO_MONEY = re.compile(
    r"credit balance is too low"  # Anthropic
    r"|reached your specified (?:\w+ ){0,2}API usage limits"  # Anthropic: of its account or workspace
    r"|user location is not supported",  # Gemini: where we are
    re.IGNORECASE,
)
"""Of our account at the provider, told with 400: the caller cannot mend it."""
_MAY_WAIT = frozenset({429, 503})
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_LONGEST = 4_000
"""Characters of a message that are looked at: enough for its first sentences, a bound for the expressions."""


def read(status: int, body: bytes) -> Outcome:
    """What a refusal with this status and body means."""
    found = of_status(status)
    if status not in READ:
        return found
    codes, message = _words(body)
    for code in codes:
        if code in _CODES:
            return _CODES[code]
    if status == 429:
        return found
    message = message[:_LONGEST]
    if _TOO_LONG.search(message):
        return Outcome.CONTEXT_TOO_LONG
    if _POLICY.search(message):
        return Outcome.CONTENT_POLICY
    if status == 400 and _NO_MONEY.search(message):
        return Outcome.CREDENTIAL
    if status == 403 and _NOT_OURS_TO_SHOW.search(message):
        return Outcome.CALLERS_FAULT
    if status in (400, 404) and _NO_MODEL.search(message):
        return Outcome.NO_SUCH_MODEL
    return found


def first_words(error: dict[str, Any]) -> Outcome:
    """What an error event at the beginning of a stream means: the same words, without a status.

    Its cost is not known, so only what says that the request itself is at fault counts as a refusal.
    """
    codes, message = _of(error)
    if any(_CODES.get(code) is Outcome.CONTEXT_TOO_LONG for code in codes) or _TOO_LONG.search(
        message[:_LONGEST]
    ):
        return Outcome.CONTEXT_TOO_LONG
    if any(_CODES.get(code) is Outcome.CONTENT_POLICY for code in codes):
        return Outcome.CONTENT_POLICY
    return Outcome.ERROR_IN_STREAM


def wait_s(status: int, body: bytes) -> float | None:
    """Seconds that the body of a refusal asks its caller to wait (Google's RetryInfo); None where it does
    not."""
    if status not in _MAY_WAIT or b"retryDelay" not in body:
        return None
    error = _error_in(body)
    for detail in _details(error) if isinstance(error, dict) else ():
        told = detail.get("retryDelay")
        found = _DURATION.fullmatch(told) if isinstance(told, str) else None
        if found is not None:
            return float(found[1])
    return None


def _error_in(body: bytes) -> Any:
    """The error that a body tells; None where it is no JSON."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(document, list):  # Google's OpenAI-compatible endpoint and its arrays wrap the error in one
        document = document[0] if document else {}
    return document.get("error", document) if isinstance(document, dict) else {}


def _words(body: bytes) -> tuple[list[str], str]:
    """(codes, message) of an error body; a body that is none is its own message."""
    error = _error_in(body)
    if error is None:
        return [], body[:_LONGEST].decode("utf-8", "replace")
    return _of(error) if isinstance(error, dict) else ([], str(error))


def _details(error: dict[str, Any]) -> list[dict[str, Any]]:
    """The details that Google adds to an error: who says why, and when to come back."""
    details = error.get("details")
    return [each for each in details if isinstance(each, dict)] if isinstance(details, list) else []


def _of(error: dict[str, Any]) -> tuple[list[str], str]:
    inner, details = error.get("innererror") or error.get("inner_error"), error.get("details")
    found = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    if isinstance(details, dict):
        found.append(details.get("error_code"))  # Anthropic
    found += [detail.get("reason") for detail in _details(error)]
    message = error.get("message") or error.get("detail") or ""
    return [code for code in found if isinstance(code, str)], message if isinstance(message, str) else str(
        message
    )
