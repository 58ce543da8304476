"""What an answer says of itself, and what it cost: usage as reported, else an estimate that is called one."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from gateway.dialects.dialect import CANCELLED, LENGTH, TOOL_CALLS
from gateway.forwarding.attempts import Reached
from gateway.forwarding.candidates import Candidate
from gateway.parts import Parts
from gateway.request import Request
from gateway.settlement import close_free, price_attempt
from metering.usage import Usage
from metering.usage.reading import Reading


async def estimate_unknown(parts: Parts, request: Request) -> None:
    """Attempts that were sent and lost: the prompt may have been read, so its cost is the estimate."""
    for attempt in request.attempts:
        if attempt.status == "unknown" and attempt.cost_nano is None:
            if request.call.free:
                close_free(attempt)
                continue
            targets = {(c.target.provider, c.target.model): c for c in request.candidates}
            candidate = targets[attempt.provider or "", attempt.model or ""]
            counted = await parts.estimates.given(request.call, candidate)
            usage = Usage(input_tokens=_within_bound(request.call.likely_input(counted), candidate))
            price_attempt(
                attempt,
                candidate,
                Reading(usage),
                parts.prices,
                source="estimated",
                most_nano=request.most_nano(attempt),
                account=request.event.account_id,
                service_tier=request.call.service_tier,
                region=candidate.upstream.price_region,
            )


async def appraise_whole(
    parts: Parts, request: Request, reached: Reached, answer: dict[str, Any] | None
) -> None:
    """Usage, served model, outcome and cost from a whole answer; None: one that cannot be read."""
    event, dialect = request.event, request.surface.dialect
    event.status = "succeeded"
    if answer is None:
        answer = {}
        event.outcome, event.outcome_reason = "failure", "unreadable_answer"
    elif dialect.failed(answer):
        event.outcome, event.outcome_reason = "failure", "error_in_answer"  # some providers say 200 to it
    else:
        event.outcome = "success"
    reading = request.surface.read(answer)
    if reading.usage is None:
        reading = dialect.read_headers(reached.answer.headers, reading)
    judge(
        request, set(dialect.reasons(answer)), dialect.answer_text(answer) if request.call.wants_json else ""
    )
    text = dialect.text(answer) if reading.usage is None else ""
    await price(parts, request, reached, reading, text, known=reading.usage is not None)
    if reading.usage is not None and event.outcome == "success" and parts.estimates.due(reached.candidate):
        parts.estimates.learn(request.call, reached.candidate, reading.usage, partial(dialect.text, answer))


def judge(request: Request, reasons: set[str], text: str) -> None:
    """What the finish reasons and the asked-for format say about the answer."""
    event = request.event
    if CANCELLED in reasons:
        event.status, event.outcome = "cancelled", "unknown"
    if LENGTH in reasons and event.max_output_written is not None:
        event.truncated_by = "gateway"
    if TOOL_CALLS in reasons:
        return  # what was said before a call of tools is not yet the answer
    if request.call.wants_json and event.outcome == "success" and text and request.call.choices == 1:
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            event.outcome, event.outcome_reason = "failure", "invalid_json"


async def price(
    parts: Parts,
    request: Request,
    reached: Reached,
    reading: Reading,
    text: str,
    *,
    known: bool,
    chunks: int = 0,
) -> None:
    """Price the attempt by what was reported, else by what can be counted: the text and its chunks.

    `known`: what was reported is final. What was reported of an answer that then broke off is the least that
    it can be.
    """
    if request.call.free:
        close_free(reached.attempt)
        return
    if not known:
        call, candidate = request.call, reached.candidate
        given = await parts.estimates.given(call, candidate)
        made = await parts.estimates.made(text, candidate)
        likely = call.likely_output(made, given, chunks)
        if text:  # then it has thought before
            likely += parts.estimates.beyond(candidate)
        likely = _within_maximum(likely, request, candidate)
        so_far = reading.usage
        usage = (
            Usage(input_tokens=_within_bound(call.likely_input(given), candidate), output_tokens=likely)
            if so_far is None
            else so_far._replace(output_tokens=max(so_far.output_tokens, likely))
        )
        reading = reading._replace(usage=usage)
    price_attempt(
        reached.attempt,
        reached.candidate,
        reading,
        parts.prices,
        source="provider" if known else "estimated",
        most_nano=request.most_nano(reached.attempt),
        account=request.event.account_id,
        service_tier=request.call.service_tier,
        region=reached.endpoint.price_region,
    )


def _within_bound(likely: int, candidate: Candidate) -> int:
    """An estimate of the input is at most what its ceiling says that it can be."""
    return likely if candidate.ceiling is None else min(likely, candidate.ceiling.tokens.given)


def _within_maximum(likely: int, request: Request, candidate: Candidate) -> int:
    """An estimate is at most what the answer was allowed to have: what is beyond it is not credible."""
    maximum = candidate.maximum[1] if candidate.maximum else request.call.maximum
    if maximum is None and candidate.price is not None:
        maximum = candidate.price.max_output_tokens
    return likely if maximum is None else min(likely, maximum * request.call.choices)
