"""Follows an answer that its provider works on in the background, until it has ended and tells its usage.

The request stays open meanwhile, with what is held for it: its one cost event tells what it really cost.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gateway.forwarding.attempts import Reached
from gateway.request import Request
from gateway.transport.errors import TransportError

FOLLOWED_S = 3_600.0
"""How long at most; what has not ended then stays an estimate, and in doubt."""
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 5.0
TICK_S = 0.25
"""How soon a stop is noticed."""
GONE = (404, 410)


async def follow(
    request: Request, reached: Reached, answer_id: str, answer_bytes_max: int
) -> dict[str, Any] | None:
    """The whole answer as it ended; None where the gateway stops first, or the provider has it no longer."""
    upstream, endpoint = reached.candidate.upstream, reached.endpoint
    dialect = request.surface.dialect
    target = endpoint.path_below(request.call.operation, reached.candidate.target.model, answer_id)
    loop = asyncio.get_running_loop()
    deadline, wait_s = loop.time() + FOLLOWED_S, FIRST_WAIT_S
    while loop.time() < deadline and await _wait(request, wait_s):
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        try:
            answer = await request.begin_of(upstream.look(endpoint, b"GET", target, request.id))
            body = await answer.read(answer_bytes_max)
        except TransportError:
            continue
        if answer.status in GONE:
            return None
        document = dialect.document(body) if answer.status == 200 else None
        if document is not None and not dialect.running(document):
            return document
    return None


async def _wait(request: Request, wait_s: float) -> bool:
    """Wait; False where the gateway ends the request. A client that has left does not end it."""
    while request.stopped in (None, "client_gone") and wait_s > 0:
        await asyncio.sleep(min(wait_s, TICK_S))
        wait_s -= TICK_S
    return request.stopped in (None, "client_gone")
