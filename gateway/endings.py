"""How an accepted request ends: each way settles once, tells the ledger, and completes the answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from time import time

import orjson

from gateway import answers
from gateway.answers import Send
from gateway.dialects import Surface
from gateway.dialects.dialect import LENGTH
from gateway.dialects.exchange import RawHeaders
from gateway.errors import BadKey, GatewayError, Unavailable, UpstreamError
from gateway.forwarding.attempts import Broken, Reached, Walk
from gateway.forwarding.candidates import Candidate
from gateway.forwarding.relay import NotBegun, Receive, relay_stream
from gateway.forwarding.tap import StreamTap
from gateway.parts import Parts
from gateway.request import Request
from gateway.settlement import close_free, price_attempt, settle
from gateway.transport.errors import TransportError
from gateway.transport.errors import UpstreamTimeout as TransportTimeout
from metering.event import Attempt
from metering.usage import Usage
from metering.usage.reading import Reading
from routing.outcome import Outcome

TOO_MANY = 429
"""The refusal that a caller may repeat: it must only slow down."""


async def end_without_answer(parts: Parts, request: Request, error: GatewayError, send: Send) -> None:
    """No target answered: estimate what may have been billed, settle, and say so."""
    event = request.event
    event.status, event.outcome = "failed", "failure"
    if request.stopped is not None:
        error = _stopped(request.stopped)
        event.status = "drained" if request.stopped == "drained" else "failed"
    event.http_status, event.error_code = error.status, error.code
    await _estimate_unknown(parts, request)
    await parts.closer.close(request, settle(request, None))
    await answers.send_whole(send, *answers.refusal(error, event.id, request.surface.dialect))


def _stopped(reason: str) -> GatewayError:
    """What a client is told of a request that the gateway itself ended before anything was sent."""
    if reason == "drained":
        return Unavailable("This gateway is shutting down; try again.", code="draining")
    if reason == "key_revoked":
        return BadKey("This API key was revoked while its request ran.")
    return Unavailable("The gateway lost its hold on this request's budget; try again.", code=reason)


async def _estimate_unknown(parts: Parts, request: Request) -> None:
    """Attempts that were sent and lost: the prompt may have been read, so its cost is the estimate."""
    targets = {(c.target.provider, c.target.model): c for c in request.candidates}
    for attempt in request.attempts:
        if attempt.status == "unknown" and attempt.cost_nano is None:
            if request.call.free:
                close_free(attempt)
                continue
            candidate = targets[attempt.provider or "", attempt.model or ""]
            counted = await parts.count_tokens(request.call.prompt_text(), candidate.target.model)
            usage = Usage(input_tokens=request.call.likely_input(counted))
            price_attempt(
                attempt,
                candidate,
                Reading(usage),
                parts.prices,
                source="estimated",
                most_nano=request.most_nano(attempt),
                account=request.event.account_id,
                service_tier=request.call.service_tier,
            )


async def end_refused(parts: Parts, request: Request, reached: Reached, head: RawHeaders, send: Send) -> None:
    """A target refused the request: nothing was billed, and the caller is told in the provider's words."""
    event, status = request.event, reached.answer.status
    event.status, event.outcome = "failed", "failure"
    error = (
        None
        if reached.passed_on
        else UpstreamError(f"Provider {event.provider!r} failed with status {status}.")
    )
    event.error_code = f"upstream_{status}"
    event.http_status = status if error is None else error.status
    await parts.closer.close(request, settle(request, None))
    if error is not None:
        await answers.send_whole(send, *answers.refusal(error, event.id, request.surface.dialect))
        return
    body = reached.endpoint.redacted(reached.refusal or b"")
    head += answers.passed_headers(reached.answer.headers)
    head.append((b"content-length", b"%d" % len(body)))
    if status != TOO_MANY:
        head.append((b"x-should-retry", b"false"))
    await answers.send_whole(send, status, head, body)


async def end_whole(
    parts: Parts, request: Request, reached: Reached, head: RawHeaders, send: Send
) -> Broken | None:
    """A whole answer: it leaves once its close is acknowledged, with its cost in a header.

    What broke it off, where it did before it was whole: nothing was sent then, and another target may serve.
    """
    event, attempt = request.event, reached.attempt
    request.reading(reached.answer)
    try:
        body = await reached.answer.read(parts.answer_bytes_max)
    except TransportError as error:
        request.reading(None)
        timed_out = isinstance(error, TransportTimeout)
        return Broken(type(error).__name__, Outcome.TIMEOUT if timed_out else Outcome.LOST)
    request.reading(None)
    attempt.ended_ms = int(time() * 1_000)
    attempt.status = "succeeded"
    await _read_whole(parts, request, reached, body)
    await _estimate_unknown(parts, request)
    await parts.closer.close(request, settle(request, attempt))
    head += answers.passed_headers(reached.answer.headers)
    head.append((b"content-length", b"%d" % len(body)))
    head.append(answers.cost_header(event.cost_nano))
    await answers.send_whole(send, reached.answer.status, head, body)
    return None


async def _read_whole(parts: Parts, request: Request, reached: Reached, body: bytes) -> None:
    """Usage, served model and outcome from a whole answer."""
    event, dialect = request.event, request.surface.dialect
    answer = dialect.document(body)
    if answer is None:
        answer = {}
        event.outcome, event.outcome_reason = "failure", "unreadable_answer"
    elif dialect.failed(answer):
        event.outcome, event.outcome_reason = "failure", "error_in_answer"  # some providers say 200 to it
    else:
        event.outcome = "success"
    reading = request.surface.read(answer)
    _judge(request, set(dialect.reasons(answer)), dialect.answer_text(answer))
    event.status = "succeeded"
    text = dialect.text(answer) if reading.usage is None else ""
    await _price(parts, request, reached, reading, text, known=reading.usage is not None)


def _judge(request: Request, reasons: set[str], text: str) -> None:
    """What the finish reasons and the asked-for format say about the answer."""
    event = request.event
    if LENGTH in reasons and event.max_output_written is not None:
        event.truncated_by = "gateway"
    if request.call.wants_json and event.outcome == "success" and text and request.call.choices == 1:
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError:
            event.outcome, event.outcome_reason = "failure", "invalid_json"


async def _price(
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
        call, model_asked = request.call, reached.candidate.target.model
        given = await parts.count_tokens(call.prompt_text(), model_asked)
        made = await parts.count_tokens(text, model_asked) if text else 0
        likely = _within_maximum(call.likely_output(made, given, chunks), request, reached.candidate)
        so_far = reading.usage
        usage = (
            Usage(input_tokens=call.likely_input(given), output_tokens=likely)
            if so_far is None
            else replace(so_far, output_tokens=max(so_far.output_tokens, likely))
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
    )


def _within_maximum(likely: int, request: Request, candidate: Candidate) -> int:
    """An estimate is at most what the answer was allowed to have: what is beyond it is not credible."""
    maximum = candidate.maximum[1] if candidate.maximum else request.call.maximum
    return likely if maximum is None else min(likely, maximum * request.call.choices)


async def end_streamed(
    parts: Parts,
    request: Request,
    reached: Reached,
    walk: Walk,
    head: RawHeaders,
    receive: Receive,
    send: Send,
) -> Broken | None:
    """A streamed answer: it passes as it comes, and its close is acknowledged before its last byte.

    What broke it off, where it did before its first event: nothing was sent then, and another target may
    serve.
    """
    attempt = reached.attempt
    surface = request.surface
    tap = StreamTap(surface, strip_usage=reached.candidate.ask_usage)
    request.estimate_nano = partial(_estimate_so_far, reached.candidate, tap)
    head += answers.passed_headers(reached.answer.headers)
    head += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
    try:
        ending = await relay_stream(
            request,
            reached.answer,
            tap,
            (reached.answer.status, head),
            receive,
            send,
            cancel_stops_billing=reached.candidate.upstream.cancel_stops_billing,
            began=reached.began,
            may_go_on=walk.may_go_on,
        )
    except NotBegun as error:
        return Broken(error.error_class, error.outcome)
    attempt.ended_ms = int(time() * 1_000)
    attempt.error_class = ending.error_class
    _name_ending(request, attempt, ending.complete, ending.client_gone, tap.error is not None)
    if attempt.status == "cut" and request.stopped is None:
        reached.failed()
    told = tap.reading
    known = told.usage is not None and (ending.complete or not surface.dialect.interim_usage)
    text = "" if known else await asyncio.to_thread(tap.text)
    wanted = request.call.wants_json and request.event.outcome == "success"
    _judge(request, tap.reasons, await asyncio.to_thread(_answer_text, surface, tap) if wanted else "")
    await _price(parts, request, reached, told, text, known=known, chunks=tap.text_chunks)
    await _estimate_unknown(parts, request)
    await parts.closer.close(request, settle(request, attempt))
    if ending.started:
        # The last word of a stream: the cost as a comment, where the client asked for it.
        tells = ending.complete and request.tells_cost and surface.dialect.in_lines
        await send({"type": "http.response.body", "body": _cost_comment(request) if tells else b""})
    return None


def _answer_text(surface: Surface, tap: StreamTap) -> str:
    return tap.text(surface.dialect.answer_text)


def _cost_comment(request: Request) -> bytes:
    name, value = answers.cost_header(request.event.cost_nano)
    return b": %s %s\n\n" % (name, value)


def _estimate_so_far(candidate: Candidate, tap: StreamTap) -> int:
    """What a running stream is likely to have cost, in nano-USD; 0 where no price is known."""
    if candidate.price is None:
        return 0
    usage = Usage(input_tokens=len(candidate.body) // 4, output_tokens=tap.likely_tokens())
    return candidate.price.cost_of(usage).nano or 0


def _name_ending(request: Request, attempt: Attempt, complete: bool, gone: bool, told: bool) -> None:
    """The status of event and attempt, by how the stream ended."""
    event = request.event
    if complete:
        event.status, event.outcome, attempt.status = "succeeded", "success", "succeeded"
    elif gone:
        event.status, event.outcome, attempt.status = "cancelled", "unknown", "cancelled"
    elif request.stopped == "drained":
        event.status, event.outcome, attempt.status = "drained", "failure", "cut"
    else:
        event.status, event.outcome, attempt.status = "cut", "failure", "cut"
        event.error_code = "error_in_stream" if told else request.stopped or "stream_cut"
