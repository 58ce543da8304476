"""Client: whoever sent a request, as the request's owner hears it and speaks to it.

`receive` and `send` are ASGI's. `write` is an extension of ours that the front door offers: what comes for a
stream that runs can be written in the moment in which it comes, without a turn of the event loop for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Write = Callable[[bytes], bool]
"""More of a body that has begun, not empty. False: its client takes less than comes; the next is for `send`,
which waits for it."""

WRITE = "tollkeeper.http.response.write"
"""The name of `write` among the extensions of an ASGI scope."""


class Client(NamedTuple):
    """See above. `write`: None where the server below has none."""

    receive: Receive
    send: Send
    write: Write | None


def client_of(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> Client:
    """The client of an ASGI call."""
    extensions = scope.get("extensions")
    return Client(receive, send, extensions.get(WRITE) if extensions else None)
