"""Who is started, with which sockets, and what each is told: recorder, api process, workers, simulator."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import structlog

from gateway.metrics_files import value_directory
from gateway.serve.apisocket import ApiSocket
from gateway.serve.banner import url_host
from gateway.serve.children import Child
from gateway.serve.listeners import AddressBusy, open_listener
from gateway.settings import Settings, settings_document
from gateway.simulated import with_simulated

log = structlog.get_logger(component="supervisor")

SIMULATOR_HOST = "127.0.0.1"

Start = Callable[[], Awaitable[Child]]


class Crew:
    """Spawns own children and tells them their settings. `command` makes a child's command from its role.

    A worker's slot names its journal and value files; slots that differ by the number of listeners take
    turns on one listener.
    """

    def __init__(
        self,
        command: Callable[[str], list[str]],
        data_dir: Path,
        redis_url: str,
        listeners: Sequence[socket.socket],
        api: ApiSocket,
    ) -> None:
        self.metrics_dir = value_directory(data_dir)
        self._command = command
        self._data_dir = data_dir
        self._redis_url = redis_url
        self._listeners = listeners
        self._api = api
        self._simulator_listener: socket.socket | None = None

    @property
    def simulator_url(self) -> str | None:
        """Where the simulated provider listens, if it is there."""
        return listener_url(self._simulator_listener) if self._simulator_listener is not None else None

    def open_simulator_port(self, port: int) -> None:
        """Listen for the simulated provider; another port is as good when this one is taken."""
        if self._simulator_listener is None:
            try:
                self._simulator_listener = open_listener(SIMULATOR_HOST, port)
            except AddressBusy as error:
                log.warning("the simulated provider takes another port", fault=str(error))
                self._simulator_listener = open_listener(SIMULATOR_HOST, 0)

    def close_simulator_port(self) -> None:
        """Close it, if it was opened."""
        if self._simulator_listener is not None:
            self._simulator_listener.close()

    async def spawn_worker(self, slot: int) -> Child:
        """A worker that loads its code and waits to be told its settings."""
        return await self._spawn("worker", f"worker-{slot}", self._listener(slot).fileno())

    async def spawn_recorder(self) -> Child:
        """A recorder that loads its code and waits to be told its settings."""
        return await self._spawn("recorder", "recorder")

    def tell_worker(self, child: Child, settings: Settings, slot: int) -> None:
        """Let a spawned worker begin."""
        more = {
            "slot": slot,
            "listener": self._listener(slot).fileno(),
            "api_socket": str(self._api.path),
        }
        child.feed(self._document(settings) | more)

    def tell_recorder(self, child: Child, settings: Settings, *, first: bool) -> None:
        """Let a spawned recorder prepare, report, and record. `first`: no worker runs yet."""
        child.feed(self._document(settings) | {"first": first})

    def worker_start(self, settings: Settings, slot: int) -> Start:
        """Makes workers of this slot."""

        async def start() -> Child:
            child = await self.spawn_worker(slot)
            self.tell_worker(child, settings, slot)
            return child

        return start

    def api_start(self, settings: Settings, slot: int) -> Start:
        """Makes api processes; two slots take turns, so that two never share a value file."""

        async def start() -> Child:
            socket = self._api.listener.fileno()
            child = await self._spawn("api", f"api-{slot}", socket)
            child.feed(self._document(settings) | {"listener": socket})
            return child

        return start

    def recorder_start(self, settings: Settings) -> Start:
        """Makes recorders, while workers run."""

        async def start() -> Child:
            child = await self.spawn_recorder()
            self.tell_recorder(child, settings, first=False)
            return child

        return start

    def simulator_start(self, settings: Settings) -> Start:
        """Makes simulated providers, on the port that was opened."""

        async def start() -> Child:
            assert self._simulator_listener is not None
            descriptor = self._simulator_listener.fileno()
            child = await self._spawn("simulator", "simulator", descriptor)
            child.feed({"log_level": settings.server.log_level, "listener": descriptor})
            return child

        return start

    async def _spawn(self, role: str, owner: str, *descriptors: int) -> Child:
        metrics = "" if role == "simulator" else str(self.metrics_dir)
        child = await Child.spawn(owner, [*self._command(role), metrics, owner], descriptors)
        log.debug("child started", child=owner, pid=child.pid)
        return child

    def _listener(self, slot: int) -> socket.socket:
        return self._listeners[slot % len(self._listeners)]

    def _document(self, settings: Settings) -> dict[str, Any]:
        return {
            "settings": settings_document(self._resolved(settings)),
            "redis_url": self._redis_url,
            "metrics_dir": str(self.metrics_dir),
            "log_level": settings.server.log_level,
        }

    def _resolved(self, settings: Settings) -> Settings:
        """Settings as children see them: paths absolute, the simulated provider as any other."""
        server = settings.server.model_copy(update={"data_dir": self._data_dir})
        placed = settings.model_copy(update={"server": server})
        return with_simulated(placed, self.simulator_url)


def listener_url(listener: socket.socket, host: str | None = None) -> str:
    """`http://host:port` of a listening socket, as one types it on this machine."""
    address = listener.getsockname()
    return f"http://{url_host(host if host is not None else address[0])}:{address[1]}"
