"""Opens a request: the key, the ceiling and every limit agree in one step of the ledger, or it is refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from time import time

from accounts.key import KeyRecord
from budgets.hold import Hold
from budgets.ledger import LedgerUnavailable, Opened, Refused
from gateway.admission import (
    Caller,
    allowed_targets,
    attribute,
    credential,
    require_route,
    require_scope,
    require_target,
)
from gateway.attribution import Headers
from gateway.ceiling import counted_bound
from gateway.denials import denial
from gateway.dialects import SURFACES, Exchange
from gateway.entitlements import NotEntitled
from gateway.errors import (
    LEDGER_AWAY,
    BadKey,
    BadRequest,
    CallerFault,
    Forbidden,
    Misconfigured,
    Unavailable,
)
from gateway.forwarding.candidates import (
    NOTHING_NEEDED,
    Candidate,
    bound_of,
    hold_for,
    maximum_within,
    need,
    priced,
    recount,
    require_bounds,
    speaking,
    write_maximum,
)
from gateway.parts import Parts
from gateway.request import Request
from gateway.standing import Standing, find_standing
from metering import tokens
from metering.event import CostEvent, encode
from metering.money import PICO_PER_NANO, pico_to_nano_up
from routing.table import Route

Ask = Callable[[], Awaitable[Opened | Refused]]


async def find_key(parts: Parts, headers: Headers, scope: str) -> KeyRecord:
    """Who calls, with a key that has this scope; refused before the body is read."""
    try:
        return await _find_key(parts, headers, scope)
    except Forbidden:  # perhaps by a copy that is old
        parts.keys.invalidate(credential(headers))
        return await _find_key(parts, headers, scope)


async def _find_key(parts: Parts, headers: Headers, scope: str) -> KeyRecord:
    secret = credential(headers)
    try:
        key: KeyRecord | None = await parts.keys.find(secret)
    except LedgerUnavailable:
        raise Unavailable("The key store cannot be reached; try again.") from None
    if key is None:
        raise BadKey("Incorrect API key provided: no such Tollkeeper key.")
    if key.secret_ends_ms is not None and key.secret_ended(int(time() * 1_000)):
        raise BadKey("Incorrect API key provided: this key has another secret now.")
    require_scope(key, scope)
    return key


async def admit(
    parts: Parts, key: KeyRecord, headers: Headers, call: Exchange, route: Route
) -> tuple[Caller, Route]:
    """For whom the key's request is made, and the route with the targets that speak its dialect; refused
    where the key may not, or not ask for this.

    A refusal by an old copy of the key would never reach the ledger, which says so: it is checked once more.
    """
    try:
        return _admit(parts, key, headers, call, route)
    except CallerFault:
        parts.keys.invalidate(credential(headers))
        newer = await find_key(parts, headers, SURFACES[call.surface].scope)
        if newer.version == key.version:
            raise
        return _admit(parts, newer, headers, call, route)


def _admit(
    parts: Parts, key: KeyRecord, headers: Headers, call: Exchange, route: Route
) -> tuple[Caller, Route]:
    require_route(key, call.model)
    route = speaking(call, route, parts.upstreams)
    require_target(key, call.model, route.targets)
    return attribute(key, headers, parts.headers, call.body), route


async def where_it_is_kept(
    parts: Parts, key: KeyRecord, call: Exchange, found: list[Candidate]
) -> list[Candidate]:
    """Of the candidates those that have the answer which the request goes on from, each bound to where it is.

    One that is not known here goes where its route leads: it may be older than this gateway.
    """
    assert call.continues is not None
    try:
        stored = await parts.stored.find(call.continues)
    except LedgerUnavailable:
        raise Unavailable(LEDGER_AWAY) from None
    if stored is None:
        return found
    having = [each for each in found if each.upstream.name == stored.provider]
    for candidate in having:
        candidate.pinned = candidate.upstream.endpoint(stored.endpoint)
    if not stored.belongs_to(key) or not having or having[0].pinned is None:
        raise BadRequest(
            f"Previous response with id '{call.continues}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return having


async def open_request(
    parts: Parts,
    event: CostEvent,
    caller: Caller,
    headers: Headers,
    call: Exchange,
    route: Route,
    found: list[Candidate],
) -> tuple[Request, Opened]:
    """Reserve the ceiling and write the open record, in one round trip; the refusals of the ledger.

    Asked again, each once at most: with fresh copies of the limits, with a counted prompt, and after a wait
    for what others hold.
    """
    counted = reloaded = waited = False
    busy: Refused | None = None
    try:
        standing = await find_standing(parts, caller, headers, route, event.started_ms)
    except (Misconfigured, NotEntitled) as fault:
        # Perhaps by a copy that is old: the ledger, which would say so, was not asked.
        if isinstance(fault, NotEntitled) and await parts.entitlements.in_force(caller.key, caller.customer):
            raise
        reloaded = True
        standing = await _reload(parts, event, caller, headers, call, route)
    while True:
        event.plan = standing.of.label
        try:
            allowed = allowed_targets(standing.key, call.model, found)
        except Forbidden:  # perhaps by a copy that is old: the answer it goes on from is kept elsewhere
            if reloaded:
                raise
            reloaded = True
            standing = await _reload(parts, event, caller, headers, call, route)
            continue
        if standing.bounds_money or standing.bounds_tokens:
            require_bounds(call)
        usable = priced(call, allowed) if standing.bounds_money else allowed
        first = usable[0].target
        event.provider_requested = event.provider = first.provider
        event.model = first.model
        _estimate_open(event, usable)
        hold = hold_for(call, route, usable[0], counts_tokens=standing.counts_tokens)
        line = None if waited else busy.row if busy else parts.room.line_of(standing.rows.fields)
        if line is None:
            answer = await _ask_ledger(parts, event, standing, hold)
        else:
            waited = True
            answer = await parts.room.wait(line, partial(_ask_ledger, parts, event, standing, hold), busy)
        if isinstance(answer, Opened):
            parts.metrics.accepted(answer.over)
            return _accepted(parts, event, headers, call, route, usable, standing, hold, answer), answer
        if answer.reason == "STALE" and not reloaded:
            reloaded = True
            standing = await _reload(parts, event, caller, headers, call, route)
            continue
        if (
            answer.reason in ("EXHAUSTED", "BUSY")
            and not counted
            and _prompt_matters(usable[0], answer)
            and await _count_input(parts, call, route, usable)
        ):
            counted = True
            continue
        if answer.reason == "BUSY" and not waited:
            busy = answer
            continue
        raise denial(answer)


async def _reload(
    parts: Parts, event: CostEvent, caller: Caller, headers: Headers, call: Exchange, route: Route
) -> Standing:
    """The caller's standing by fresh copies of its key and limits; what the key may do is checked again."""
    parts.keys.invalidate(credential(headers))
    parts.terms.invalidate(caller.key.account_id, caller.customer)
    key = await find_key(parts, headers, SURFACES[call.surface].scope)
    caller, _ = _admit(parts, key, headers, call, route)
    event.customer, event.feature = caller.customer, caller.feature
    parts.terms.invalidate(caller.key.account_id, caller.customer)
    # Limits newer than its arrival count it, so it begins now: in the record as in the ledger.
    event.started_ms = int(time() * 1_000)
    return await find_standing(parts, caller, headers, route, event.started_ms)


def _accepted(
    parts: Parts,
    event: CostEvent,
    headers: Headers,
    call: Exchange,
    route: Route,
    usable: list[Candidate],
    standing: Standing,
    hold: Hold,
    opened: Opened,
) -> Request:
    """The running request, its first candidate's output bounded by what was held."""
    first, held = usable[0], opened.lease.held
    bound = bound_of(call, route, first) if first.ceiling or standing.counts_tokens else None
    chosen = bound.maximum if bound else 0
    if bound and opened.step != "full" and call.produces_tokens:
        chosen = maximum_within(bound, held)
        write_maximum(first, chosen)
    event.held_nano = opened.lease.held_nano
    if not opened.lease.rows.covers(event.started_ms):
        # It came in one window and was opened in the next, or our clock is not Redis': it counts where it was
        # opened, in the record as in the ledger.
        event.started_ms = opened.at_ms
    return Request(
        event=event,
        call=call,
        candidates=usable,
        lease=opened.lease,
        ledger=parts.ledger,
        route=route,
        room=need(bound, chosen) if bound else NOTHING_NEEDED,
        step=opened.step,
        bounded=standing.rows.enforced,
        tells_cost=headers.include_cost,
    )


async def _ask_ledger(parts: Parts, event: CostEvent, standing: Standing, hold: Hold) -> Opened | Refused:
    """`ledger.open`, repeated once where the answer was lost on the way.

    Where the ledger cannot be asked, or does not know what was spent, the key's own policy decides.
    """
    payload = encode(event)

    def ask(*, again: bool = False) -> Awaitable[Opened | Refused]:
        return parts.ledger.open(
            of=standing.of,
            request_id=event.id,
            versions=standing.versions,
            lists=standing.lists,
            hold=hold,
            payload=payload,
            now_ms=event.started_ms,
            rows=standing.rows,
            again=again,
        )

    try:
        answer, lost = await ask(), False
    except LedgerUnavailable as error:
        answer, lost = None, error.sent
    if lost:
        answer, _ = await _told(partial(ask, again=True))
    elif _is_cold(answer) and await _accrue(parts, event, standing):
        answer, lost = await _told(ask)
    if answer is not None and not _is_cold(answer):
        return answer
    opened = parts.uncovered.open(standing, event.id, hold, payload, event.started_ms)
    if opened is not None:
        return opened
    fault = Unavailable(LEDGER_AWAY)
    if lost:
        event.status, event.outcome, event.cost_nano, event.cost_status = "failed", "failure", 0, "free"
        event.http_status, event.error_code, event.ended_ms = fault.status, fault.code, int(time() * 1_000)
        parts.closer.abandon(event, partial(ask, again=True))
    raise fault


def _is_cold(answer: Opened | Refused | None) -> bool:
    return isinstance(answer, Refused) and answer.reason == "COLD"


async def _accrue(parts: Parts, event: CostEvent, standing: Standing) -> bool:
    """Make the values of this window that wait for its first request; False where none do."""
    rows = parts.ledger.rows(standing.lists, standing.versions, standing.of, event.started_ms)
    try:
        return await parts.ledger.accrue(standing.of, standing.versions, rows)
    except LedgerUnavailable:
        return False


async def _told(ask: Ask) -> tuple[Opened | Refused | None, bool]:
    """The ledger's answer, None without one; and whether it may have done what was asked all the same."""
    try:
        return await ask(), False
    except LedgerUnavailable as error:
        return None, error.sent


def _estimate_open(event: CostEvent, found: list[Candidate]) -> None:
    """The estimate that stands if the worker dies right after the open: the prompt's likely cost.

    A quarter of the prompt's ceiling: English text has about four bytes in a token.
    """
    for candidate in found:
        if candidate.ceiling is not None:
            event.cost_nano = pico_to_nano_up(candidate.ceiling.fixed_pico) // 4
            event.cost_status = "estimated"
            return


def _prompt_matters(first: Candidate, answer: Refused) -> bool:
    """Whether a smaller prompt could still fit: not where the least useful output alone is too much.

    What others hold now does not count: it may be free again when this request has waited.
    """
    bound, limit = first.ceiling, answer.limit
    if bound is None or limit is None:
        return False
    unspent = (answer.value or 0) - (answer.spent or 0)
    if limit.kind == "money":
        return bound.least * bound.output_pico <= unspent * PICO_PER_NANO
    if limit.kind == "tokens":
        return bound.tokens.output(bound.least) <= unspent
    return limit.kind == "input_tokens"


async def _count_input(parts: Parts, call: Exchange, route: Route, found: list[Candidate]) -> bool:
    """Replace the free bound by a counted one where a tokenizer is exact; False where it cannot help."""
    missed = call.images or call.fills_context or call.uncounted
    if missed or not all(tokens.exact_for(c.target.prices, c.target.model) for c in found):
        return False
    counted = await parts.count_tokens(call.prompt_text(), found[0].target.model)
    recount(call, route, found, counted_bound(call, counted))
    return True
