"""Sends the planned requests at their moments, as applications would, and counts what came back."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
import structlog

from gateway.background import Background
from gateway.demo.traffic import Call

RUNNING_MAX = 256
"""Requests at once; when the gateway answers more slowly than they come, the next ones wait."""
LATE_S = 5.0
"""So much later than planned nothing new is sent."""
ENDING_S = 30.0
"""Then what still runs is left."""
TIMEOUT_S = 60.0

ANSWERED, STREAMED = "answered", "answered, streamed"
LEFT, CUT = "the client hung up", "the provider broke off in the stream"
BUDGET_CODES = ("budget_exceeded", "budget_reserved")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request came to. `request_id` as the gateway told it; `told_cost` its cost header, if any.

    `accepted` requests have an event, others have none; None where the client cannot know: a ledger that was
    away may have opened the request.
    """

    call: Call
    outcome: str
    request_id: str | None = None
    accepted: bool | None = False
    told_cost: str | None = None
    complaint: str | None = None


@dataclass(slots=True)
class Tally:
    """The counts so far. `unsent` requests were planned; `unsent_reason` says why they were not sent."""

    sent: int = 0
    running: int = 0
    unsent: int = 0
    unsent_reason: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """By customer: requests that its budget had no room for."""
    finished: Counter[str] = field(default_factory=Counter)
    """By customer: all others that have ended."""
    answers: list[Answer] = field(default_factory=list)

    def note(self, answer: Answer) -> None:
        """Count one that has ended."""
        self.outcomes[answer.outcome] += 1
        code = answer.outcome.rpartition(" ")[2]
        (self.refused if code in BUDGET_CODES else self.finished)[answer.call.customer] += 1
        self.answers.append(answer)


class Driver:
    """Sends calls to one base URL. `secrets` maps customers to their keys."""

    def __init__(self, base_url: str, secrets: Mapping[str, str], tally: Tally) -> None:
        self._base_url = base_url
        self._secrets = secrets
        self._tally = tally
        self._tasks = Background(structlog.get_logger("gateway.demo"))

    async def run(self, calls: Sequence[Call], stop: asyncio.Event) -> None:
        """Send every call at its moment and wait for the answers; `stop` ends it early, hanging up on all."""
        bounds = httpx2.Limits(max_connections=RUNNING_MAX, max_keepalive_connections=RUNNING_MAX)
        async with httpx2.AsyncClient(limits=bounds, timeout=TIMEOUT_S, trust_env=False) as client:
            try:
                await self._send_all(client, calls, stop)
                await _wait(self._tasks, stop, ENDING_S)
            finally:
                await self._tasks.finish(0.0)

    async def _send_all(self, client: httpx2.AsyncClient, calls: Sequence[Call], stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number, call in enumerate(calls):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.0, start + call.at_s - loop.time()))
            while len(self._tasks) >= RUNNING_MAX and loop.time() < start + call.at_s + LATE_S:
                await _wait(self._tasks, stop, LATE_S, first=True)
                if stop.is_set():
                    break
            if stop.is_set() or loop.time() > start + call.at_s + LATE_S:
                self._tally.unsent = len(calls) - number
                self._tally.unsent_reason = (
                    "interrupted" if stop.is_set() else "too late: this machine cannot keep up"
                )
                return
            self._tally.sent += 1
            self._tally.running += 1
            self._tasks.start(self._one(client, call))

    async def _one(self, client: httpx2.AsyncClient, call: Call) -> None:
        headers = {
            "authorization": f"Bearer {self._secrets[call.customer]}",
            "observe-feature": call.feature,
        }
        url = self._base_url + call.path
        answer = Answer(call, LEFT)
        try:
            async with client.stream("POST", url, json=call.body, headers=headers) as response:
                answer = await _read(call, response)
        except httpx2.HTTPError as error:
            answer = Answer(call, f"lost: {type(error).__name__}", complaint=str(error))
        finally:
            self._tally.running -= 1
            self._tally.note(answer)


async def _wait(tasks: Background, stop: asyncio.Event, patience_s: float, *, first: bool = False) -> None:
    """Until all (or the first) of the tasks have ended, `stop` is set, or the patience is over."""
    stopped = asyncio.create_task(stop.wait())
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_s
    try:
        while tasks and not stop.is_set() and (left := deadline - loop.time()) > 0:
            await asyncio.wait({*tasks, stopped}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if first:
                return
    finally:
        stopped.cancel()


async def _read(call: Call, response: httpx2.Response) -> Answer:
    """Read the answer as far as this client wants to."""
    request_id = response.headers.get("x-request-id")
    if response.status_code >= 400:
        body = await response.aread()
        code, message = _error(body)
        # Only what was accepted, and so has an event, was sent to a provider or at least told its route.
        upstream = code in ("upstream_error", "upstream_timeout") or "observe-provider" in response.headers
        outcome = f"{response.status_code} {code}"
        accepted = None if code == "ledger_unavailable" else upstream
        return Answer(call, outcome, request_id, accepted=accepted, complaint=message)
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        await response.aread()
        told = response.headers.get("observe-cost-usd")
        return Answer(call, ANSWERED, request_id, accepted=True, told_cost=told)
    events, outcome = 0, CUT
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        events += 1
        if line == "data: [DONE]":
            outcome = STREAMED
        elif call.leaves_after is not None and events >= call.leaves_after:
            outcome = LEFT
            break
    return Answer(call, outcome, request_id, accepted=True)


def _error(body: bytes) -> tuple[str, str]:
    """(code, message) of an error in OpenAI's shape."""
    try:
        error: Any = orjson.loads(body)["error"]
        return str(error["code"] or error["type"]), str(error["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "unreadable", body[:200].decode(errors="replace")
