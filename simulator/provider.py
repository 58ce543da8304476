"""The simulated provider as a server: sockets, start and stop."""

from __future__ import annotations

import asyncio
import socket
import ssl

from simulator.bill import Bill
from simulator.connection import Connection
from simulator.service import Habits, Service

BACKLOG = 2_048


class SimulatedProvider:
    """A provider on a real socket, in the running event loop.

    Args:
        pace_ms: time for each token; 0 sends at once.
        first_ms: time before the first byte of an answer.
        tokens: visible output tokens of an answer.
        bill_full_on_hangup: charge a left answer as if it had been finished.
    """

    def __init__(
        self,
        *,
        pace_ms: float = 0.0,
        first_ms: float = 0.0,
        tokens: int = 40,
        bill_full_on_hangup: bool = False,
    ) -> None:
        if pace_ms < 0 or first_ms < 0 or tokens < 0:
            raise ValueError("pace_ms, first_ms and tokens must not be negative")
        habits = Habits(
            pace_ms=pace_ms, first_ms=first_ms, tokens=tokens, bill_full_on_hangup=bill_full_on_hangup
        )
        self._connections: set[Connection] = set()
        self._service = Service(habits, self._connections)
        self._server: asyncio.Server | None = None
        self._root = ""

    @property
    def bill(self) -> Bill:
        """The bill of this provider."""
        return self._service.bill

    @property
    def root(self) -> str:
        """`http://host:port`; empty before `start`."""
        return self._root

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"{self._root}/v1"

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        listener: socket.socket | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> int:
        """Listen and return the bound port. A bound `listener` replaces host and port and is then owned."""
        if self._server is not None:
            raise RuntimeError("the simulated provider has already been started")
        loop = asyncio.get_running_loop()
        if listener is None:
            self._server = await loop.create_server(self._connect, host, port, backlog=BACKLOG, ssl=tls)
        else:
            self._server = await loop.create_server(self._connect, sock=listener, backlog=BACKLOG, ssl=tls)
        address = self._server.sockets[0].getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        self._root = f"{'https' if tls else 'http'}://{shown}:{address[1]}"
        return int(address[1])

    async def stop(self) -> None:
        """Stop listening and drop every connection. A second stop changes nothing."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        for connection in list(self._connections):
            connection.abort()
        await server.wait_closed()
        while self._connections:
            await asyncio.sleep(0)

    def _connect(self) -> Connection:
        return Connection(self._service, self._connections)
