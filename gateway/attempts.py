"""Walks the candidates until one begins to answer: the only place that tries again.

Every try is an `Attempt` in the request's trail, whatever became of it. A next candidate is tried only after
an attempt that surely cost nothing; a try on a reused connection that died unanswered may be repeated once
on a fresh one, after the ledger has held its cost a second time.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import time

from budgets.hold import NOTHING
from gateway.candidates import Candidate, bound_of, maximum_within, need, write_maximum
from gateway.errors import GatewayError, UpstreamError, UpstreamTimeout
from gateway.request import Request
from gateway.transport.errors import ReusedConnectionClosed, TransportError
from gateway.transport.errors import UpstreamTimeout as TransportTimeout
from gateway.transport.port import Answer
from metering.event import Attempt
from routing.outcome import Failure, Verdict, after_failure, after_status

ERROR_BODY_BYTES_MAX = 1024 * 1024


@dataclass(slots=True)
class Reached:
    """A candidate that answered, the attempt that reached it, and, when it refused, the whole refusal."""

    candidate: Candidate
    attempt: Attempt
    answer: Answer
    refusal: bytes | None = None


async def reach(request: Request) -> Reached:
    """The first candidate that answers with success, or whose refusal is for the caller to mend.

    Raises UpstreamFault when none does; the trail in `request.attempts` tells why.
    """
    refused: Reached | None = None
    fault: GatewayError | None = None
    for candidate in request.candidates:
        dearer = request.bounded and candidate is not request.candidates[0]
        if dearer and not await _make_room(request, candidate):
            continue
        reached = await _try(request, candidate)
        if isinstance(reached, TransportError):
            fault = _as_fault(reached, candidate)
            if after_failure(_failure(reached)) is not Verdict.NEXT:
                break
            continue
        verdict = after_status(reached.answer.status)
        if verdict is Verdict.DONE:
            return reached
        await _read_refusal(reached)
        if verdict is Verdict.CALLERS_FAULT:
            return reached
        refused, fault = reached, None
        if verdict is not Verdict.NEXT:
            break
    if fault is not None:
        raise fault
    if refused is None:
        raise UpstreamError("No target of this route fits into what is left of the budget.")
    return refused


async def _make_room(request: Request, candidate: Candidate) -> bool:
    """Have enough held for a fallback: for the answer it may give, else for the least useful one.

    False where not even that fits: the candidate is passed over.
    """
    call, bound = request.call, bound_of(request.call, request.route, candidate)
    free_to_choose = call.maximum is None and call.produces_tokens
    wanted = bound.maximum if request.step == "full" else bound.assumed
    for maximum in (wanted, bound.least) if free_to_choose else (wanted,):
        needed = need(bound, maximum)
        extra = needed.beyond(request.room)
        if extra == NOTHING or await request.hold_more(extra):
            request.room = request.room.joined(needed)
            break
    else:
        return False
    if free_to_choose and (request.step != "full" or maximum != wanted):
        write_maximum(call, candidate, maximum_within(bound, request.room.held()))
    return True


async def _try(request: Request, candidate: Candidate) -> Reached | TransportError:
    """One candidate, with one reconnect where a kept connection turned out to be dead."""
    kind = "fallback" if request.attempts else "primary"
    fresh = False
    while True:
        attempt = Attempt(
            kind=kind,
            provider=candidate.target.provider,
            model=candidate.target.model,
            started_ms=int(time() * 1_000),
        )
        request.trying(attempt)
        try:
            answer = await candidate.upstream.send(
                request.surface, candidate.body, request.id, stream=request.call.stream, fresh=fresh
            )
        except ReusedConnectionClosed as error:
            _record_failure(attempt, error)
            if fresh or not await request.hold_again():
                return error
            kind, fresh = "reconnect", True
        except TransportError as error:
            _record_failure(attempt, error)
            return error
        else:
            attempt.http_status = answer.status
            attempt.first_byte_ms = int(time() * 1_000)
            upstream_id = answer.header(b"x-request-id")
            if upstream_id:
                attempt.upstream_request_id = upstream_id.decode("latin-1")[:128]
            return Reached(candidate, attempt, answer)


def _record_failure(attempt: Attempt, error: TransportError) -> None:
    attempt.ended_ms = int(time() * 1_000)
    attempt.error_class = type(error).__name__
    # What was never sent was never billed; what was sent may have been.
    attempt.status = "unknown" if error.request_sent else "failed"


def _failure(error: TransportError) -> Failure:
    if not error.request_sent:
        return Failure.NOT_SENT
    return Failure.TIMEOUT if isinstance(error, TransportTimeout) else Failure.LOST


def _as_fault(error: TransportError, candidate: Candidate) -> GatewayError:
    name = candidate.target.provider
    if isinstance(error, TransportTimeout):
        return UpstreamTimeout(f"Provider {name!r} did not answer in time.")
    return UpstreamError(f"Provider {name!r} could not be reached or broke off ({type(error).__name__}).")


async def _read_refusal(reached: Reached) -> None:
    """A refusal is read whole: it is short, its attempt is over, and it cost nothing."""
    try:
        reached.refusal = await reached.answer.read(ERROR_BODY_BYTES_MAX)
    except TransportError as error:
        reached.refusal = b""
        reached.attempt.error_class = type(error).__name__
    reached.answer.close()
    attempt = reached.attempt
    attempt.status = "failed"
    attempt.error_class = attempt.error_class or f"http_{reached.answer.status}"
    attempt.ended_ms = int(time() * 1_000)
