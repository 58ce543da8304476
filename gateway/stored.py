"""Stored answers: whose they are, and which provider keeps them, so that a later request finds them again.

t2:{NN}:answer:<answer id>  string  JSON: account, customer, provider, endpoint (its label), model; kept for
                                    KEPT_MS since it was last needed

It lies on the shard of the answer's id, since whoever asks names nothing else. Losing it costs nobody money:
an answer that is not known here cannot be looked at, and a request that continues it goes where its route
leads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import structlog
from hiredis import ReplyError

from accounts.key import KeyRecord
from budgets.ledger import LedgerUnavailable
from budgets.names import names_on, shard_of
from gateway.background import Background

KEPT_MS = 30 * 86_400_000
"""As long as OpenAI keeps responses (https://platform.openai.com/docs/guides/your-data)."""
FINISH_S = 2.0


@dataclass(frozen=True, slots=True)
class Stored:
    """One answer that a provider keeps. `endpoint`: the label of the one whose account has it."""

    account: str
    customer: str | None
    provider: str
    endpoint: str
    model: str

    def belongs_to(self, key: KeyRecord) -> bool:
        """Whether this key may see it: those of its account, and one bound to a customer only that one's."""
        return self.account == key.account_id and key.customer in (None, self.customer)


class StoredAnswers:
    """What is known of them, over the ledger's server. `command` runs one of its commands."""

    def __init__(self, command: Callable[..., Awaitable[Any]]) -> None:
        self._command = command
        self._log = structlog.get_logger("gateway")
        self._background = Background(self._log)

    def remember(self, answer_id: str, stored: Stored) -> asyncio.Task[None]:
        """Begin to keep it; the task ends when it is kept, or could not be. It never fails: a ledger that is
        away, or full, is told of in the log and by nothing else, since the answer is good."""
        return self._background.start(self._remember(answer_id, stored))

    async def _remember(self, answer_id: str, stored: Stored) -> None:
        try:
            await self._command("SET", _name(answer_id), orjson.dumps(asdict(stored)), "PX", KEPT_MS)
        except (LedgerUnavailable, ReplyError) as error:
            self._log.warning("answer_not_remembered", answer=answer_id, error=str(error))

    async def find(self, answer_id: str) -> Stored | None:
        """What is known of an answer; raises LedgerUnavailable."""
        found = await self._command("GET", _name(answer_id))
        return None if found is None else Stored(**orjson.loads(found))

    async def forget(self, answer_id: str) -> None:
        """The provider keeps it no longer; raises LedgerUnavailable."""
        await self._command("DEL", _name(answer_id))

    async def finish(self) -> None:
        """Wait a moment for what is still to be kept, at the worker's end."""
        await self._background.finish(FINISH_S)


def _name(answer_id: str) -> str:
    return f"{names_on(shard_of(answer_id)).base}answer:{answer_id}"
