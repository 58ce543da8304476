"""Claims of idempotency keys, and what is remembered of requests that may come again. Beside the ledger.

t2:{NN}:claim:<key id>:<digest>  hash    id, body, at; when its request has ended status, cost (claim.lua);
                                         kept for a day
t2:{NN}:again:<digest>           string  task of a request that ended badly; kept for ten minutes

Both lie on the shard of the account, so a claim sees whether its request is open. Raises LedgerUnavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from hiredis import ReplyError

from budgets.names import names_of
from budgets.scripts import CLAIM, UNCLAIM, Script
from budgets.wire import Argument, LedgerUnavailable

KEPT_MS = 86_400_000
"""How long a claim is kept: a day from the claim, and again from the end."""
OPENING_MS = 30_000
"""A claim is made right before the opening, which may wait for others' holds and count its prompt."""
AGAIN_MS = 600_000
"""How long after its end a request is known again."""

State = Literal["NEW", "OTHER", "RUNNING", "ENDED"]


class Connection(Protocol):
    """What is needed of the ledger's connection."""

    def script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Any]: ...

    def command(self, *args: Argument) -> asyncio.Future[Any]: ...


@dataclass(frozen=True, slots=True)
class Claimed:
    """What became of a claim: NEW, or the request that has it, and how that one ended (None: unknown)."""

    state: State
    request_id: str | None = None
    status: str | None = None
    cost_nano: int | None = None


class Claims:
    """Claims and memories, over the ledger's connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def claim(
        self, account_id: str, key_id: str, digest: str, *, request_id: str, body: str
    ) -> Claimed:
        """Claim an idempotency key (by its digest) for this request, or learn who has it."""
        args = (request_id, body, KEPT_MS, names_of(account_id).open, OPENING_MS)
        reply = await self._run(CLAIM, _claim(account_id, key_id, digest), args)
        state: Any = reply[0].decode()
        if len(reply) == 1:
            return Claimed(state)
        if len(reply) == 2:
            return Claimed(state, reply[1].decode())
        cost = reply[3].decode()
        return Claimed(state, reply[1].decode(), reply[2].decode(), int(cost) if cost else None)

    async def ended(
        self,
        account_id: str,
        key_id: str,
        digest: str,
        *,
        request_id: str,
        status: str,
        cost_nano: int | None,
    ) -> None:
        """Tell how the request ended that has the claim."""
        cost = "" if cost_nano is None else str(cost_nano)
        await self._run(UNCLAIM, _claim(account_id, key_id, digest), (request_id, status, cost, KEPT_MS))

    async def give_back(self, account_id: str, key_id: str, digest: str, *, request_id: str) -> None:
        """The key may be used again: its request was not accepted, or failed at no cost."""
        await self._run(UNCLAIM, _claim(account_id, key_id, digest), (request_id, "", "", KEPT_MS))

    async def remember(self, account_id: str, digest: str, task_id: str) -> None:
        """Keep the task of a request that may come again."""
        name = f"{names_of(account_id).base}again:{digest}"
        await self._asked(self._connection.command("SET", name, task_id, "PX", AGAIN_MS))

    async def recall(self, account_id: str, digest: str) -> str | None:
        """The task of the request that this one repeats; None where none is known."""
        found = await self._asked(
            self._connection.command("GET", f"{names_of(account_id).base}again:{digest}")
        )
        return None if found is None else str(found.decode())

    async def _run(self, script: Script, name: str, args: Sequence[Argument]) -> Any:
        return await self._asked(self._connection.script(script, (name,), args))

    async def _asked(self, future: asyncio.Future[Any]) -> Any:
        try:
            return await future
        except ReplyError as error:
            raise LedgerUnavailable(f"Redis refused: {error}", sent=False) from error


def _claim(account_id: str, key_id: str, digest: str) -> str:
    return f"{names_of(account_id).base}claim:{key_id}:{digest}"
