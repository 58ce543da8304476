"""Walks the candidates until one begins to answer: the only place that tries again.

Every try is an `Attempt` in the request's trail, whatever became of it. What follows from it stands in the
table `routing.outcome`: the same target once more where it surely cost nothing and the provider's retry
budget lets it, another endpoint of the provider, another target, or the end. Before anything that follows an
attempt of unknown cost, or that may cost more than is held, the ledger holds what it can take; where it will
not, that target is passed over.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from time import time

from budgets.hold import NOTHING, Extra
from gateway.answers import UPSTREAM_IDS
from gateway.credentials import CredentialFault
from gateway.errors import GatewayError, Misconfigured, Unavailable, UpstreamError, UpstreamTimeout
from gateway.forwarding.candidates import Candidate, Need, bound_of, maximum_within, need, write_maximum
from gateway.forwarding.metrics import DENIED, OPENED, PASSED_OVER, SET_ASIDE
from gateway.forwarding.upstream import Endpoint
from gateway.request import Request
from gateway.transport.errors import PoolExhausted, ReusedConnectionClosed, TransportClosed, TransportError
from gateway.transport.errors import UpstreamTimeout as TransportTimeout
from gateway.transport.port import Answer
from metering.event import Attempt
from routing import refusal
from routing.backoff import full_jitter_s, retry_after_s
from routing.outcome import RULES, Chances, Next, Outcome, Step, after, of_status

ERROR_BODY_BYTES_MAX = 1024 * 1024
ATTEMPTS_MAX = 8
"""For one request, over all targets."""
ASIDE_MS = 60_000
"""How long a refused credential is left alone, before it is tried again: it may have been put right."""
RATE_LIMITED_MS = 1_000
"""The same for a rate limit that does not say how long."""
RATE_LIMITED_MAX_MS = 60_000


@dataclass(slots=True)
class Reached:
    """A candidate that answered, the attempt that reached it, and, when it refused, the whole refusal.

    `passed_on`: the refusal's own words are for the caller.
    """

    candidate: Candidate
    endpoint: Endpoint
    attempt: Attempt
    answer: Answer
    refusal: bytes | None = None
    passed_on: bool = False

    def began(self) -> None:
        """The answer has really begun: its target does well."""
        candidate, upstream = self.candidate, self.candidate.upstream
        place = upstream.place(self.endpoint, candidate.target)
        upstream.board.passed(place)
        if candidate.timed:
            attempt = self.attempt
            took_ms = (attempt.first_byte_ms or attempt.started_ms) - attempt.started_ms
            upstream.board.timed(place, max(took_ms, 0.5) / 1_000, stream=candidate.streams)

    def failed(self) -> None:
        """The answer began and broke off."""
        _count_failure(self.candidate, self.endpoint)


@dataclass(frozen=True, slots=True)
class Broken:
    """How an answer broke off before anything of it went to the client."""

    error_class: str
    outcome: Outcome


class Walk:
    """One request's way through its candidates.

    `reach` gives the first one that answers; `reach_on` goes on from an answer that broke off before anything
    of it went to the client.
    """

    # What most requests never change stands here once, and not in each walk.
    _at = 0
    _tried: tuple[Endpoint, ...] = ()
    _repeats = 0
    _claimed = False
    _outcome = Outcome.ANSWERED
    _window: int | None = None
    _refused: Reached | None = None
    _fault: GatewayError | None = None

    def __init__(self, request: Request) -> None:
        self._request = request

    async def reach(self) -> Reached:
        """The first candidate that answers with success, or whose refusal is for the caller to mend.

        Raises UpstreamFault when none does; the trail in `request.attempts` tells why.
        """
        candidate = self._request.candidates[0]
        upstream = candidate.upstream
        endpoint = upstream.only or candidate.pinned or _first(candidate)
        upstream.budget.earn()
        tried = await self._try("primary", candidate, endpoint)
        if type(tried) is Reached and tried.answer.status == 200:
            if not candidate.streams:
                tried.began()
            return tried
        return await self._go_on(candidate, endpoint, tried)

    def may_go_on(self, outcome: Outcome) -> bool:
        """Whether another target might be asked after this."""
        self._outcome = outcome
        return self._more_targets()

    async def reach_on(self, reached: Reached, broken: Broken) -> Reached:
        """The next candidate that answers, after one whose answer broke off; raises as `reach` does."""
        _end(reached.attempt, "unknown", broken.error_class)
        reached.answer.close()
        reached.failed()
        self._claimed = True
        self._outcome = broken.outcome
        self._fault = UpstreamError(f"The provider broke off before its answer began ({broken.error_class}).")
        self._refused = None
        following = await self._following(reached.candidate, reached.endpoint, None)
        if following is None:
            raise self._fault
        kind, candidate, endpoint = following
        return await self._go_on(candidate, endpoint, await self._try(kind, candidate, endpoint))

    async def _go_on(
        self, candidate: Candidate, endpoint: Endpoint, tried: Reached | TransportError
    ) -> Reached:
        """What follows from an attempt, and from those that follow it."""
        while True:
            wait_s: float | None = None
            if isinstance(tried, Reached):
                self._outcome = outcome = of_status(tried.answer.status)
                if outcome is Outcome.ANSWERED:
                    if not candidate.streams:
                        tried.began()
                    return tried
                await _read_refusal(tried)
                self._outcome = outcome = refusal.read(tried.answer.status, tried.refusal or b"")
                tried.passed_on = RULES[outcome].passed_on
                self._refused, self._fault = tried, None
                wait_s = retry_after_s(tried.answer.header)
                if wait_s is None:
                    wait_s = refusal.wait_s(tried.answer.status, tried.refusal or b"")
            else:
                self._outcome = outcome = _outcome_of(tried)
                self._fault = _as_fault(tried, candidate)
            rule = RULES[outcome]
            if not rule.free:
                self._claimed = True
            if rule.fails and not isinstance(tried, PoolExhausted | TransportClosed):
                _count_failure(candidate, endpoint)
            if rule.aside:
                _set_aside(candidate, endpoint, outcome, wait_s)
            if outcome is Outcome.CONTEXT_TOO_LONG:
                self._window = candidate.price.context_window if candidate.price else None
            following = await self._following(candidate, endpoint, wait_s)
            if following is None:
                break
            kind, candidate, endpoint = following
            tried = await self._try(kind, candidate, endpoint)
        if self._fault is not None:
            raise self._fault
        if self._refused is None:
            raise UpstreamError("No target of this route fits into what is left of the budget.")
        return self._refused

    # What comes next

    async def _following(
        self, candidate: Candidate, endpoint: Endpoint, asked_s: float | None
    ) -> tuple[str, Candidate, Endpoint] | None:
        """(kind, candidate, endpoint) of the next attempt; None when there is none.

        `asked_s`: how long the provider asks to wait.
        """
        request, upstream, outcome = self._request, candidate.upstream, self._outcome
        rule = RULES[outcome]
        if self._stopped():
            return None
        if rule.targets is Next.NONE or len(request.attempts) >= ATTEMPTS_MAX:
            return None
        self._tried += (endpoint,)
        other = None
        if candidate.pinned is None:
            other = upstream.choose(candidate.target, self._tried, random.random)
        wait_s = self._wait_s(candidate, endpoint, asked_s)
        step = after(
            outcome,
            Chances(
                endpoints=other is not None,
                repeats=upstream.repeats - self._repeats,
                wait_s=wait_s,
                targets=self._more_targets(),
            ),
        )
        if step is Step.ELSEWHERE:
            assert other is not None
            # Another region is another server, and another credential has a rate limit of its own: only one
            # that leads to the same server in trouble adds to its load.
            loads = other.transport is endpoint.transport and outcome is not Outcome.RATE_LIMITED
            if self._may_spend(candidate, rule.budgeted and loads):
                return "retry", candidate, other
        elif step is Step.AGAIN and self._may_spend(candidate, rule.budgeted):
            self._repeats += 1
            if wait_s:
                await asyncio.sleep(wait_s)
            return None if self._stopped() else ("retry", candidate, endpoint)
        return await self._next_target(candidate)

    def _stopped(self) -> bool:
        """The gateway itself ends this request: nothing is tried any more."""
        reason = self._request.stopped
        if reason == "drained":
            self._fault = Unavailable("This gateway is shutting down; try again.", code="draining")
        elif reason is not None:
            self._fault = Unavailable("The gateway lost its hold on this request's budget; try again.")
        return reason is not None

    def _wait_s(self, candidate: Candidate, endpoint: Endpoint, asked_s: float | None) -> float | None:
        """How long the same endpoint must be left alone; None where that is too long, or it is set aside."""
        upstream, request = candidate.upstream, self._request
        place = upstream.place(endpoint, candidate.target)
        if not upstream.board.free(place) and upstream.board.word(place) != "closed":
            return None
        wait_s = full_jitter_s(self._repeats, upstream.base_s, upstream.wait_max_s, random.random)
        wait_s = max(wait_s, asked_s or 0.0)
        gone_ms = int(time() * 1_000) - request.event.started_ms
        if wait_s > upstream.wait_max_s or gone_ms + wait_s * 1_000 > request.route.deadline_ms:
            if RULES[self._outcome].again and upstream.repeats > self._repeats:
                DENIED.labels(upstream.name, "deadline").inc()
            return None
        return wait_s

    def _may_spend(self, candidate: Candidate, budgeted: bool) -> bool:
        if not budgeted or candidate.upstream.budget.spend():
            return True
        DENIED.labels(candidate.upstream.name, "budget").inc()
        return False

    def _more_targets(self) -> bool:
        return any(self._suits(each) for each in self._request.candidates[self._at + 1 :])

    def _suits(self, candidate: Candidate) -> bool:
        """Whether the route falls back to this candidate after what was met."""
        request, outcome = self._request, self._outcome
        if outcome not in request.route.fallback_on:
            return False
        if int(time() * 1_000) - request.event.started_ms > request.route.deadline_ms:
            return False
        if RULES[outcome].targets is not Next.LARGER or self._window is None:
            return True
        window = candidate.price.context_window if candidate.price else None
        return window is None or window > self._window

    async def _next_target(self, failed: Candidate) -> tuple[str, Candidate, Endpoint] | None:
        """The next target that suits, whose provider may be asked, and that fits into what can be held."""
        request, candidates = self._request, self._request.candidates
        budgeted = RULES[self._outcome].budgeted
        asked = {candidates[n].upstream.name for n in range(self._at + 1)}
        while self._at + 1 < len(candidates):
            self._at += 1
            candidate = candidates[self._at]
            name = candidate.upstream.name
            if not self._suits(candidate):
                reason = "window" if self._outcome is Outcome.CONTEXT_TOO_LONG else "policy"
                PASSED_OVER.labels(name, reason).inc()
                continue
            if name in asked and not self._may_spend(candidate, budgeted):
                PASSED_OVER.labels(name, "retry_budget").inc()
                continue
            if (request.bounded or self._claimed) and not await self._make_room(candidate):
                PASSED_OVER.labels(name, "money").inc()
                continue
            if name not in asked:
                candidate.upstream.budget.earn()
            self._tried, self._repeats = (), 0
            return "fallback", candidate, _first(candidate)
        return None

    async def _make_room(self, candidate: Candidate) -> bool:
        """Have enough held for a fallback: for the answer it may give, else for the least useful one.

        What an attempt of unknown cost may still claim is not used twice. False where not even the least
        fits: the candidate is passed over.
        """
        request = self._request
        call = request.call
        bound = bound_of(call, request.route, candidate)
        free_to_choose = call.maximum is None and call.produces_tokens
        wanted = bound.maximum if request.step == "full" else bound.assumed
        for maximum in (wanted, bound.least) if free_to_choose else (wanted,):
            needed = need(bound, maximum)
            extra = _whole(needed) if self._claimed else needed.beyond(request.room)
            if extra == NOTHING or await request.hold_more(extra):
                request.room = needed if self._claimed else request.room.joined(needed)
                self._claimed = False
                break
        else:
            return False
        if free_to_choose and (request.step != "full" or maximum != wanted):
            write_maximum(candidate, maximum_within(bound, request.room.held()))
        return True

    # One attempt

    async def _try(self, kind: str, candidate: Candidate, endpoint: Endpoint) -> Reached | TransportError:
        """One attempt, with one reconnect where a kept connection turned out to be dead."""
        request = self._request
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
                answer = await request.begin_of(
                    candidate.upstream.send(
                        endpoint,
                        candidate.call,
                        candidate.target.model,
                        candidate.body,
                        request.id,
                        fresh=fresh,
                    )
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
                upstream_id = next(filter(None, map(answer.header, UPSTREAM_IDS)), None)
                if upstream_id:
                    attempt.upstream_request_id = upstream_id.decode("latin-1")[:128]
                return Reached(candidate, endpoint, attempt, answer)


def _first(candidate: Candidate) -> Endpoint:
    endpoint = candidate.upstream.choose(candidate.target, (), random.random)
    assert endpoint is not None  # the first attempt always has one
    return endpoint


def _whole(needed: Need) -> Extra:
    return Extra(needed.nano, needed.input_tokens, needed.output_tokens)


def _record_failure(attempt: Attempt, error: TransportError) -> None:
    # What was never sent was never billed; what was sent may have been.
    _end(attempt, "unknown" if error.request_sent else "failed", type(error).__name__)


def _end(attempt: Attempt, status: str, error_class: str) -> None:
    attempt.ended_ms = int(time() * 1_000)
    attempt.status, attempt.error_class = status, error_class


def _outcome_of(error: TransportError) -> Outcome:
    if isinstance(error, CredentialFault):
        return Outcome.CREDENTIAL
    if not error.request_sent:
        return Outcome.NOT_SENT
    return Outcome.TIMEOUT if isinstance(error, TransportTimeout) else Outcome.LOST


def _as_fault(error: TransportError, candidate: Candidate) -> GatewayError:
    name = candidate.target.provider
    if isinstance(error, CredentialFault):
        return (Misconfigured if error.refused else UpstreamError)(
            f"The gateway has no credential for provider {name!r} at the moment; its operator's log says why."
        )
    if isinstance(error, TransportTimeout):
        return UpstreamTimeout(f"Provider {name!r} did not answer in time.")
    return UpstreamError(f"Provider {name!r} could not be reached or broke off ({type(error).__name__}).")


def _count_failure(candidate: Candidate, endpoint: Endpoint) -> None:
    upstream = candidate.upstream
    if upstream.board.failed(upstream.place(endpoint, candidate.target), upstream.circuit):
        OPENED.labels(upstream.name).inc()


def _set_aside(candidate: Candidate, endpoint: Endpoint, outcome: Outcome, asked_s: float | None) -> None:
    """Leave a credential alone: while its rate limit lasts, or until it may have been put right."""
    upstream = candidate.upstream
    if outcome is Outcome.RATE_LIMITED:
        for_ms = RATE_LIMITED_MS if asked_s is None else min(int(asked_s * 1_000), RATE_LIMITED_MAX_MS)
        # A rate limit is a model's; a credential that is refused is refused everywhere.
        place = upstream.place(endpoint, candidate.target)
    else:
        for_ms, place = ASIDE_MS, endpoint.credential
    if for_ms:
        upstream.board.set_aside(place, for_ms)
    SET_ASIDE.labels(upstream.name, outcome.value).inc()


async def _read_refusal(reached: Reached) -> None:
    """A refusal is read whole: it is short, its attempt is over, and it cost nothing."""
    try:
        reached.refusal = await reached.answer.read(ERROR_BODY_BYTES_MAX)
    except TransportError as error:
        reached.refusal = b""
        reached.attempt.error_class = type(error).__name__
    reached.answer.close()
    _end(reached.attempt, "failed", reached.attempt.error_class or f"http_{reached.answer.status}")
