"""How an accepted request ends: each way settles once, tells the ledger, and completes the answer."""

from __future__ import annotations

import asyncio
from functools import partial
from time import time
from typing import Any

from gateway import answers
from gateway.appraisal import appraise_whole, estimate_unknown, judge, price
from gateway.client import Client, Send
from gateway.dialects import Surface
from gateway.dialects.exchange import RawHeaders
from gateway.errors import BadKey, GatewayError, Unavailable, UpstreamError
from gateway.forwarding.attempts import Broken, Reached, Walk
from gateway.forwarding.candidates import Candidate
from gateway.forwarding.following import follow
from gateway.forwarding.relay import NotBegun, relay_stream
from gateway.forwarding.tap import StreamTap
from gateway.parts import Parts
from gateway.request import Request
from gateway.settlement import settle
from gateway.stored import Stored
from gateway.transport.errors import TransportError
from gateway.transport.errors import UpstreamTimeout as TransportTimeout
from metering.event import Attempt
from metering.usage import Usage
from metering.usage.reading import NOTHING
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
    await estimate_unknown(parts, request)
    await parts.closer.close(request, settle(request, None))
    await answers.send_whole(send, *answers.refusal(error, event.id, request.surface.dialect))


def _stopped(reason: str) -> GatewayError:
    """What a client is told of a request that the gateway itself ended before anything was sent."""
    if reason == "drained":
        return Unavailable("This gateway is shutting down; try again.", code="draining")
    if reason == "key_revoked":
        return BadKey("This API key was revoked while its request ran.")
    return Unavailable("The gateway lost its hold on this request's budget; try again.", code=reason)


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
    head += answers.passed_headers(reached.answer.headers)
    head.append((b"content-length", b"%d" % len(body)))
    answer = request.surface.dialect.document(body)
    remembering = _remember(parts, request, reached, answer) if request.call.kept else None
    if request.call.background and answer is not None and request.surface.dialect.running(answer):
        await _ended(remembering)
        await answers.send_whole(send, reached.answer.status, [*head, answers.cost_header(None)], body)
        await _end_followed(parts, request, reached, request.surface.dialect.answer_id(answer))
        return None
    await appraise_whole(parts, request, reached, answer)
    await estimate_unknown(parts, request)
    await parts.closer.close(request, settle(request, attempt))
    await _ended(remembering)
    head.append(answers.cost_header(event.cost_nano))
    await answers.send_whole(send, reached.answer.status, head, body)
    return None


def _remember(
    parts: Parts, request: Request, reached: Reached, answer: dict[str, Any] | None
) -> asyncio.Task[None] | None:
    """Begin to note where the provider keeps this answer. It must have ended before the caller can ask for
    it, and runs beside what else the ledger is told."""
    answer_id = None if answer is None else request.surface.dialect.answer_id(answer)
    return None if answer_id is None else parts.stored.remember(answer_id, _stored(request, reached))


async def _ended(task: asyncio.Task[None] | None) -> None:
    """Wait for what runs beside; how it ended is its own affair."""
    if task is not None:
        await asyncio.wait((task,))


def _stored(request: Request, reached: Reached) -> Stored:
    event, target = request.event, reached.candidate.target
    return Stored(event.account_id, event.customer, target.provider, reached.endpoint.label, target.model)


async def _end_followed(parts: Parts, request: Request, reached: Reached, answer_id: str | None) -> None:
    """An answer that its provider works on in the background, after its caller has been told so."""
    answer = await _followed(parts, request, reached, answer_id)
    if answer is not None:
        await appraise_whole(parts, request, reached, answer)
    else:
        event = request.event
        event.status, event.outcome = "drained" if request.stopped == "drained" else "cut", "unknown"
        event.outcome_reason = event.error_code = reached.attempt.error_class = "background_lost"
        await price(parts, request, reached, NOTHING, "", known=False)
    await estimate_unknown(parts, request)
    await parts.closer.close(request, settle(request, reached.attempt))


async def _followed(
    parts: Parts, request: Request, reached: Reached, answer_id: str | None
) -> dict[str, Any] | None:
    """The answer as it ended; None where that cannot be known."""
    answer = None
    if answer_id is not None:
        answer = await follow(request, reached, answer_id, parts.answer_bytes_max)
    reached.attempt.ended_ms = int(time() * 1_000)
    return answer


async def end_streamed(
    parts: Parts,
    request: Request,
    reached: Reached,
    walk: Walk,
    head: RawHeaders,
    client: Client,
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
            client,
            cancel_stops_billing=reached.candidate.upstream.cancel_stops_billing,
            began=partial(_began, parts, request, reached, tap),
            may_go_on=walk.may_go_on,
        )
    except NotBegun as error:
        return Broken(error.error_class, error.outcome)
    attempt.ended_ms = int(time() * 1_000)
    attempt.error_class = ending.error_class
    _name_ending(request, attempt, ending.complete, ending.client_gone, tap.error is not None)
    if attempt.status == "cut" and request.stopped is None:
        reached.failed()
    ended = ending.started
    if request.call.background and not ending.complete:
        if ending.started:
            await client.send({"type": "http.response.body", "body": b""})
            ended = False
        await _appraise_followed(parts, request, reached, tap)
    else:
        await _appraise_streamed(parts, request, reached, tap, complete=ending.complete)
    await estimate_unknown(parts, request)
    await parts.closer.close(request, settle(request, attempt))
    if ended:
        # The last word of a stream: the cost as a comment, where the client asked for it.
        takes_it = surface.dialect.in_lines and surface.dialect.takes_comments
        tells = ending.complete and request.tells_cost and takes_it
        last = _cost_comment(request) if tells else b""
        await client.send({"type": "http.response.body", "body": last})
    return None


def _began(parts: Parts, request: Request, reached: Reached, tap: StreamTap) -> None:
    """The first event has come."""
    reached.began()
    if request.call.kept and tap.answer_id is not None:
        parts.stored.remember(tap.answer_id, _stored(request, reached))


async def _appraise_streamed(
    parts: Parts, request: Request, reached: Reached, tap: StreamTap, *, complete: bool
) -> None:
    """What a stream said that has ended, whole or not."""
    surface, told = request.surface, tap.reading
    dialect = surface.dialect
    final = tap.told_with_reason if dialect.final_with_reason else complete or not dialect.interim_usage
    known = told.usage is not None and final
    text = "" if known else await asyncio.to_thread(tap.text)
    wanted = request.call.wants_json and request.event.outcome == "success"
    judge(request, tap.reasons, await asyncio.to_thread(_answer_text, surface, tap) if wanted else "")
    await price(parts, request, reached, told, text, known=known, chunks=tap.text_chunks)
    if known and complete and told.usage and parts.estimates.due(reached.candidate):
        parts.estimates.learn(request.call, reached.candidate, told.usage, tap.text)


async def _appraise_followed(parts: Parts, request: Request, reached: Reached, tap: StreamTap) -> None:
    """What became of an answer whose stream ended early, while its provider went on with it."""
    answer = await _followed(parts, request, reached, tap.answer_id)
    if answer is None:
        await _appraise_streamed(parts, request, reached, tap, complete=False)
        return
    reached.attempt.status, request.event.error_code = "succeeded", None
    await appraise_whole(parts, request, reached, answer)


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
