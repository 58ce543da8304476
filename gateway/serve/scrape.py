"""The scrape port: `/metrics` of all workers together, served by the supervisor, off the hot path.

A few dozen lines of HTTP are enough for one path and one method; loading a web framework for it would cost
the supervisor more memory than everything else it does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.serve.exposition import collect

REQUEST_BYTES_MAX = 16_384
PATIENCE_S = 10.0


class ScrapePort:
    """Serves the value files in `directory`, and what `own` adds in Prometheus' text format."""

    def __init__(self, listener: socket.socket, directory: Path, own: Callable[[], str]) -> None:
        self._listener = listener
        self._directory = directory
        self._own = own
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Accept connections from now on."""
        self._server = await asyncio.start_server(self._answer, sock=self._listener, limit=REQUEST_BYTES_MAX)

    async def stop(self) -> None:
        """Close the port; a scrape that is being written ends by itself."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reading: asyncio.StreamReader, writing: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                head = await reading.readuntil(b"\r\n\r\n")
                status, body = await self._body(head.split(b"\r\n", 1)[0].split(b" "))
                writing.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                )
                if not head.startswith(b"HEAD "):
                    writing.write(body)
                await writing.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # not a scraper, or one that gave up
        finally:
            writing.close()

    async def _body(self, words: list[bytes]) -> tuple[str, bytes]:
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return "400 Bad Request", b"not an HTTP/1.1 request\n"
        if words[1].split(b"?", 1)[0] != b"/metrics":
            return "404 Not Found", b"this port serves /metrics only\n"
        if words[0] not in (b"GET", b"HEAD"):
            return "405 Method Not Allowed", b"GET or HEAD\n"
        collected = await asyncio.to_thread(collect, self._directory)
        return "200 OK", collected + self._own().encode()


def supervisor_lines(workers_ready: int, starts: Mapping[str, int]) -> str:
    """The supervisor's own metrics, written out by hand: a registry for two would be loaded at each start."""
    return "\n".join(
        [
            "# HELP tollkeeper_workers_ready Gateway workers that accept requests",
            "# TYPE tollkeeper_workers_ready gauge",
            f"tollkeeper_workers_ready {workers_ready}",
            "# HELP tollkeeper_child_starts_total Processes started in a place, the first included",
            "# TYPE tollkeeper_child_starts_total counter",
            *(f'tollkeeper_child_starts_total{{child="{name}"}} {count}' for name, count in starts.items()),
            "",
        ]
    )
