"""What is kept of responses, and jobs: answers that are made in the background, at their own pace.

A job costs its prompt from the moment it leaves the queue, and what it has made until it ends or is
cancelled, whoever listens.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from simulator.bill import Charge
from simulator.errors import Refusal
from simulator.responses.answer import SEARCH_FEE, ResponseAnswer

REMEMBERED = 10_000


def begin_charge(charge: Charge, answer: ResponseAnswer) -> None:
    """The prompt of an answer, and what it searched for, are charged for from now on."""
    charge.begin(
        answer.model.snapshot,
        answer.rates,
        answer.input_tokens,
        tier=answer.tier,
        cached=answer.cached,
        searches=answer.searches,
        fees=answer.searches * SEARCH_FEE,
    )


class Job:
    """An answer on its way without a listener: queued, in progress, then over."""

    def __init__(self, answer: ResponseAnswer, charge: Charge, times: tuple[float, float]) -> None:
        self.answer = answer
        self._charge = charge
        self._loop = asyncio.get_running_loop()
        self._begins = self._loop.time() + times[0]
        self._pace_s = times[1]
        self._cancelled = False
        self._begun = False
        self._timer: asyncio.TimerHandle | None = None
        if times[0] > 0:
            self._timer = self._loop.call_later(times[0], self._begin)
        else:
            self._begin()

    @property
    def status(self) -> str:
        """Where it is: queued, in_progress, completed, incomplete, failed or cancelled."""
        if self._cancelled:
            return "cancelled"
        if not self._begun:
            return "queued"
        return self.answer.outcome if self._charge.closed else "in_progress"

    @property
    def times(self) -> tuple[float, float]:
        """Seconds until it leaves the queue, and for each token."""
        return max(0.0, self._begins - self._loop.time()), self._pace_s

    @property
    def made(self) -> int:
        """Output tokens made by now."""
        if not self._begun:
            return 0
        if self._charge.closed:
            return self._charge.completion_tokens
        return min(self.answer.made_tokens, int((self._loop.time() - self._begins) / self._pace_s))

    def cancel(self) -> None:
        """Stop, and charge for what was made. What is over stays as it is."""
        if self._charge.closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._end(self.made, complete=False)
        self._cancelled = True

    def _begin(self) -> None:
        self._begun = True
        begin_charge(self._charge, self.answer)
        left_s = self.answer.made_tokens * self._pace_s
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._finish)
        else:
            self._finish()

    def _finish(self) -> None:
        self._end(self.answer.made_tokens, complete=True)

    def _end(self, made: int, *, complete: bool) -> None:
        charge = self._charge
        charge.completion_tokens = made
        charge.reasoning = min(made, self.answer.reasoning)
        charge.status, charge.complete, charge.closed = 200, complete, True


@dataclass(frozen=True, slots=True)
class Kept:
    """One response: whose it is, what is answered to what, and the job that makes it, if one does."""

    owner: str
    answer: ResponseAnswer
    context: list[dict[str, Any]]
    usage: bool
    job: Job | None = None
    streamed: bool = False

    @property
    def status(self) -> str:
        """The status by now."""
        return self.answer.outcome if self.job is None else self.job.status

    def document(self) -> dict[str, Any]:
        """The `response` object by now."""
        return self.answer.document(self.status, usage=self.usage)


class Store:
    """Responses by id."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def keep(self, kept: Kept) -> None:
        """Remember a response; the oldest is forgotten when there are too many."""
        self._kept[kept.answer.id] = kept
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)

    def find(self, response_id: str, owner: str) -> Kept:
        """The response of that id. Raises Refusal (404) when `owner` has none such."""
        kept = self._kept.get(response_id)
        if kept is None or kept.owner != owner:
            raise Refusal(404, f"Response with id '{response_id}' not found.")
        return kept

    def delete(self, kept: Kept) -> None:
        """Forget a response; a job that makes it is cancelled."""
        if kept.job is not None:
            kept.job.cancel()
        del self._kept[kept.answer.id]

    def before(self, response_id: str, owner: str) -> list[dict[str, Any]]:
        """The conversation up to the end of an earlier response. Raises Refusal when there is none such."""
        kept = self._kept.get(response_id)
        if kept is None or kept.owner != owner:
            raise Refusal(
                400,
                f"Previous response with id '{response_id}' not found.",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        if kept.status not in ("completed", "incomplete"):
            raise Refusal(
                400,
                f"Previous response with id '{response_id}' cannot be continued: it is {kept.status}.",
                param="previous_response_id",
            )
        return [*kept.context, *kept.answer.items()]
