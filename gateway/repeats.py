"""Repeats: requests that a client sends again, by `Idempotency-Key` or as a retry of an official SDK.

An idempotency key is claimed right before the opening, in a round trip of its own that requests without one
do not make. Its second use is refused: 409 while the first runs and when it has ended (with its cost), 422
with another body. A request that was refused, or failed at no cost, gives its key back.

A retry of an SDK (`x-stainless-retry-count` above 0) joins the task of the request that it repeats. Nothing
is kept for requests that end well: only those that failed or whose client left are remembered, for ten
minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256

import orjson
import structlog

from accounts.key import KeyRecord
from budgets.claims import Claimed, Claims
from budgets.ledger import LedgerUnavailable
from gateway.attribution import Headers
from gateway.background import Background, waits
from gateway.dialects import Exchange
from gateway.errors import IdempotencyMismatch, RequestFinished, RequestInProgress, Unavailable
from gateway.request import Request
from metering.event import CostEvent
from metering.money import nano_to_usd

PATIENCE_S = 60.0
FINISH_S = 3.0
"""At the worker's end: how long what is still to be told is tried."""


class Repeats:
    """One worker's dealings with repeated requests."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._claimed: dict[str, tuple[str, str, str]] = {}  # request id -> account, key, digest
        self._joined: set[str] = set()  # requests that have their task from another one
        self._log = structlog.get_logger("gateway.repeats")
        self._background = Background(self._log)

    async def begin(
        self,
        key: KeyRecord,
        headers: Headers,
        event: CostEvent,
        call: Exchange,
        running: Mapping[str, Request],
    ) -> None:
        """Give a retry its task, and claim the idempotency key; raises the refusals told above.

        Only for requests whose headers have one of the two. `running`: this worker's requests by id.
        """
        if headers.retry_count and headers.task_id is None:
            event.task_id = await self._task_of(event, call, running)
            if event.task_id is not None:
                self._joined.add(event.id)
        if headers.idempotency_key is not None:
            await self._claim(key, headers.idempotency_key, event, call)

    async def _claim(self, key: KeyRecord, given: bytes, event: CostEvent, call: Exchange) -> None:
        digest = sha256(given).hexdigest()
        name = (key.account_id, key.id, digest)
        try:
            claimed = await self._claims.claim(*name, request_id=event.id, body=_body_digest(call))
        except LedgerUnavailable:
            # It may have been sent before; without the answer it must not run twice.
            raise Unavailable("Whether this request ran before cannot be told now; try again.") from None
        if claimed.state != "NEW":
            raise _refusal(claimed)
        self._claimed[event.id] = name

    async def _task_of(self, event: CostEvent, call: Exchange, running: Mapping[str, Request]) -> str | None:
        wanted = _attribution(event)
        for request in running.values():
            same = _attribution(request.event) == wanted and _is_same(request.call, call)
            if same and not self._names_its_task(request.event):
                return request.event.task_id or request.id
        try:
            return await self._claims.recall(event.account_id, _fingerprint(event, call))
        except LedgerUnavailable:
            return None  # it counts all the same, in a task of its own

    def _names_its_task(self, event: CostEvent) -> bool:
        """Its client says itself what belongs together."""
        return event.task_id is not None and event.id not in self._joined

    def refused(self, request_id: str) -> None:
        """The request was not accepted: its key may be used again."""
        self._joined.discard(request_id)
        name = self._claimed.pop(request_id, None)
        if name is not None:
            self._background.start(self._give_back(name, request_id))

    def left(self, request: Request) -> None:
        """Its client may come again while this one still ends."""
        if not self._names_its_task(request.event):
            self._background.start(self._remember(request))

    def ended(self, request: Request) -> None:
        """The request has ended, and the ledger or the journal knows."""
        event = request.event
        if event.status != "succeeded" and not self._names_its_task(event):
            self._background.start(self._remember(request))
        self._joined.discard(request.id)
        name = self._claimed.pop(request.id, None)
        if name is None or event.ended_ms is None:
            return  # not settled, by a fault of ours: the claim finds out by itself how it ends
        if event.status == "failed" and event.cost_nano == 0 and not event.doubted_nano:
            self._background.start(self._give_back(name, request.id))
        else:
            self._background.start(self._tell(name, request.id, event.status, event.cost_nano))

    async def finish(self) -> None:
        """Wait a moment for what is still to be told, at the worker's end."""
        await self._background.finish(FINISH_S)

    async def _remember(self, request: Request) -> None:
        event = request.event
        try:
            await self._claims.remember(
                event.account_id, _fingerprint(event, request.call), event.task_id or event.id
            )
        except LedgerUnavailable:
            pass  # then a retry is a task of its own

    async def _give_back(self, name: tuple[str, str, str], request_id: str) -> None:
        await self._until_told(lambda: self._claims.give_back(*name, request_id=request_id), request_id)

    async def _tell(
        self, name: tuple[str, str, str], request_id: str, status: str, cost_nano: int | None
    ) -> None:
        await self._until_told(
            lambda: self._claims.ended(*name, request_id=request_id, status=status, cost_nano=cost_nano),
            request_id,
        )

    async def _until_told(self, tell: Callable[[], Awaitable[object]], request_id: str) -> None:
        for wait_s in waits(PATIENCE_S):
            try:
                await tell()
                return
            except LedgerUnavailable:
                await asyncio.sleep(wait_s)
        self._log.error("claim_not_told", request_id=request_id)


def _refusal(claimed: Claimed) -> Exception:
    request_id = claimed.request_id or ""
    if claimed.state == "OTHER":
        return IdempotencyMismatch(request_id)
    if claimed.state == "RUNNING":
        return RequestInProgress(request_id)
    cost = None if claimed.cost_nano is None else nano_to_usd(claimed.cost_nano)
    return RequestFinished(request_id, claimed.status or "", cost)


def _attribution(event: CostEvent) -> tuple[str | None, ...]:
    return (
        event.account_id,
        event.key_id,
        event.surface,
        event.customer,
        event.feature,
        event.workspace,
        event.user,
        event.trace_id,
    )


def _fingerprint(event: CostEvent, call: Exchange) -> str:
    """What a retry has in common with what it repeats: key, attribution, surface, model and body."""
    named = "\x1f".join(part or "" for part in (*_attribution(event), *_place(call)))
    return sha256(named.encode() + b"\x1e" + orjson.dumps(call.body)).hexdigest()


def _body_digest(call: Exchange) -> str:
    # Sorted: a client that builds the same body again may write its fields in another order.
    body = orjson.dumps(call.body, option=orjson.OPT_SORT_KEYS)
    return sha256("\x1f".join(_place(call)).encode() + b"\x1e" + body).hexdigest()


def _place(call: Exchange) -> tuple[str, str]:
    """What a request's path says in some dialects: the model, and whether it is a stream."""
    return call.operation, call.model


def _is_same(one: Exchange, other: Exchange) -> bool:
    return one.body == other.body and _place(one) == _place(other)
