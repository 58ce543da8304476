"""Opens a request: the key, the ceiling and every limit agree in one step of the ledger, or it is refused."""

from __future__ import annotations

from functools import partial
from time import time

from accounts.key import KeyRecord
from budgets.ledger import Hold, LedgerUnavailable, Opened, Refused
from gateway.admission import Caller, Headers, attribute, credential, require_scope
from gateway.candidates import Candidate, bounded, hold_for, recount, write_maximum
from gateway.ceiling import counted_bound
from gateway.dialects import Exchange
from gateway.errors import BadKey, BudgetExhausted, BudgetReserved, GatewayError, Unavailable
from gateway.parts import Parts
from gateway.request import Request
from metering import tokens
from metering.event import CostEvent, encode
from metering.money import PICO_PER_NANO, nano_to_usd, pico_to_nano_up
from routing.table import Route

SCOPES = {"chat.completions": "proxy.chat", "embeddings": "proxy.embeddings"}
LEDGER_AWAY = "The ledger cannot be reached, and it must agree first; try again."


async def find_caller(parts: Parts, headers: Headers, surface: str) -> Caller:
    """Who calls, and for whom; refused before the body is read."""
    secret = credential(headers)
    try:
        key: KeyRecord | None = await parts.keys.find(secret)
    except LedgerUnavailable:
        raise Unavailable("The key store cannot be reached; try again.") from None
    if key is None:
        raise BadKey("Incorrect API key provided: no such Tollkeeper key.")
    require_scope(key, SCOPES[surface])
    return attribute(key, headers)


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

    Asked again, each once at most: with a fresh copy of the key, with a counted prompt, and after a wait for
    money that others hold.
    """
    counted = reloaded = waited = False
    busy: Refused | None = None
    while True:
        hard = any(limit.enforcement == "hard" for limit in caller.key.limits)
        usable = bounded(call, found) if hard else found
        _estimate_open(event, usable)
        ask = partial(_ask_ledger, parts, event, caller, hold_for(usable))
        line = None if waited else busy.limit_id if busy else parts.room.line_of(caller.key.limits)
        waited = waited or line is not None
        answer = await (ask() if line is None else parts.room.wait(line, ask, busy))
        if isinstance(answer, Opened):
            event.held_nano = answer.lease.held_nano
            if hard:
                usable = write_maximum(call, usable, answer)
            request = Request(
                event=event,
                call=call,
                candidates=usable,
                lease=answer.lease,
                ledger=parts.ledger,
                hard=hard,
                tells_cost=headers.include_cost,
            )
            return request, answer
        if answer.reason == "STALE" and not reloaded:
            reloaded = True
            parts.keys.invalidate(credential(headers))
            caller = await find_caller(parts, headers, call.surface)
            event.customer, event.feature = caller.customer, caller.feature
            continue
        if (
            answer.reason in ("EXHAUSTED", "BUSY")
            and not counted
            and _prompt_matters(usable, answer)
            and await _count_input(parts, call, route, usable)
        ):
            counted = True
            continue
        if answer.reason == "BUSY" and not waited:
            busy = answer
            continue
        raise _refusal(answer)


async def _ask_ledger(parts: Parts, event: CostEvent, caller: Caller, hold: Hold) -> Opened | Refused:
    """`ledger.open`, repeated once where the answer was lost on the way."""
    key = caller.key
    again = partial(
        parts.ledger.open,
        account_id=key.account_id,
        request_id=event.id,
        key_id=key.id,
        key_version=key.version,
        limits=key.limits,
        hold=hold,
        payload=encode(event),
        now_ms=event.started_ms,
    )
    try:
        return await again()
    except LedgerUnavailable as error:
        if not error.sent:
            raise Unavailable(LEDGER_AWAY) from None
    again = partial(again, again=True)
    try:
        return await again()
    except LedgerUnavailable:
        fault = Unavailable(LEDGER_AWAY)
        event.status, event.outcome, event.cost_nano, event.cost_status = "failed", "failure", 0, "free"
        event.http_status, event.error_code, event.ended_ms = fault.status, fault.code, int(time() * 1_000)
        parts.closer.abandon(event, again)
        raise fault from None


def _estimate_open(event: CostEvent, found: list[Candidate]) -> None:
    """The estimate that stands if the worker dies right after the open: the prompt's likely cost.

    A quarter of the prompt's ceiling: English text has about four bytes in a token.
    """
    for candidate in found:
        if candidate.ceiling is not None:
            event.cost_nano = pico_to_nano_up(candidate.ceiling.fixed_pico) // 4
            event.cost_status = "estimated"
            return


def _prompt_matters(found: list[Candidate], answer: Refused) -> bool:
    """Whether a smaller prompt could still fit: not where the least useful output alone costs too much."""
    free_pico = (answer.free_nano or 0) * PICO_PER_NANO
    bounds = [candidate.ceiling for candidate in found if candidate.ceiling is not None]
    return any(bound.least * bound.output_pico <= free_pico for bound in bounds)


async def _count_input(parts: Parts, call: Exchange, route: Route, found: list[Candidate]) -> bool:
    """Replace the free bound by a counted one where a tokenizer is exact; False where it cannot help."""
    if call.images or not all(tokens.exact_for(c.target.prices, c.target.model) for c in found):
        return False
    counted = await parts.count_tokens(call.prompt_text(), found[0].target.model)
    recount(call, route, found, counted_bound(call, counted))
    return True


def _refusal(answer: Refused) -> GatewayError:
    """What the ledger's refusal means to the caller."""
    if answer.reason in ("REVOKED", "EXPIRED"):
        return BadKey(f"This API key is {answer.reason.lower()}.")
    if answer.reason == "EXHAUSTED":
        return BudgetExhausted(
            f"The key's budget ({answer.limit_id}) has ${nano_to_usd(max(0, answer.free_nano or 0))} left of "
            f"${nano_to_usd(answer.limit_nano or 0)}, less than this request may cost.",
            param=answer.limit_id,
        )
    if answer.reason == "BUSY":
        return BudgetReserved(
            f"What is left of the key's budget ({answer.limit_id}) is held by running requests; try again.",
            param=answer.limit_id,
        )
    return Unavailable("The ledger is not ready for this account yet; try again.")
