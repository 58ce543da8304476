"""The order of an installation's life: lock, sockets, Valkey, recorder (which prepares), simulator, workers,
api process; and the same backwards at its end, but that the api process outlives the workers.

Recorder and workers are spawned before anything is ready, so that their imports overlap; they get their
settings when it is their turn, and the installation is ready when its workers are. SIGTERM or SIGINT drains
and ends everything (a second one does not wait for running requests); SIGHUP reads the configuration again
and replaces the workers, or refuses all of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import structlog

from gateway.metrics_files import forget_live_gauges, remove, wipe
from gateway.serve import banner
from gateway.serve.apisocket import ApiSocket, open_api_socket
from gateway.serve.children import Child, ChildFailed, Keeper, python_command
from gateway.serve.crew import Crew, listener_url
from gateway.serve.listeners import AddressBusy, close_all, open_listener, open_listeners
from gateway.serve.lock import DirectoryLock, Running
from gateway.serve.openfiles import provide_files
from gateway.serve.reload import fixed_changes, with_fixed
from gateway.serve.scrape import ScrapePort, supervisor_lines
from gateway.serve.validation import complaints, remarks
from gateway.serve.valkey import EmbeddedValkey
from gateway.settings import ConfigError, Settings

log = structlog.get_logger(component="supervisor")

DRAIN_MARGIN_S = 10.0  # beyond drain_s: what was cut says so to its client and settles
RECORDER_GRACE_S = 30.0  # the outbox is emptied; what is left stays in Redis for the next start
SIMULATOR_GRACE_S = 5.0
API_GRACE_S = 25.0  # what is being answered is answered


class StartFailed(Exception):
    """The installation cannot start; the text says why and what to do."""


class Supervisor:
    """One installation. `run` returns its exit code; `reload` reads the settings again for SIGHUP.

    `command` makes the command of an own child from its role.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reload: Callable[[], Settings],
        command: Callable[[str], list[str]] = python_command,
    ) -> None:
        self._settings = settings
        self._load = reload
        self._command = command
        self._data_dir = settings.server.data_dir.resolve()
        self._stop_asked = asyncio.Event()
        self._unkept: set[Child] = set()
        self._listeners: list[socket.socket] = []
        self._slots: list[int] = []
        self._crew: Crew | None = None
        self._valkey: EmbeddedValkey | None = None
        self._scrape: ScrapePort | None = None
        self._recorder: Keeper | None = None
        self._api: Keeper | None = None
        self._api_socket: ApiSocket | None = None
        self._api_slot = 0
        self._simulator: Keeper | None = None
        self._workers: list[Keeper] = []
        self._reloading: asyncio.Task[None] | None = None
        self._had_terminal = _has_terminal()

    async def run(self) -> int:
        """Start, serve until a signal asks to stop, end. Raises StartFailed, DirectoryBusy."""
        lock = DirectoryLock.take(self._data_dir)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        starting = asyncio.create_task(self._start(lock), name="start")
        stopping = asyncio.create_task(self._stop_asked.wait(), name="stop asked")
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            await stopping
        except (ChildFailed, AddressBusy) as error:
            raise StartFailed(str(error)) from None
        finally:
            starting.cancel()
            stopping.cancel()
            await asyncio.wait({starting, stopping})
            await self._stop()
            lock.release()
        log.info("stopped")
        _forget_lost_output()
        return 0

    # Start

    async def _start(self, lock: DirectoryLock) -> None:
        settings, server = self._settings, self._settings.server
        for remark in remarks(settings):
            log.info(remark)
        _provide_files(server.connections_max)
        self._listeners = open_listeners(server.host, server.port, server.worker_count)
        scrape_listener = open_listener(server.metrics_host, server.metrics_port)
        self._api_socket = open_api_socket(self._data_dir)
        if settings.redis.url is None:
            self._valkey = EmbeddedValkey(self._data_dir, appendfsync=settings.redis.appendfsync)
        redis_url = self._valkey.url if self._valkey is not None else str(settings.redis.url)
        crew = self._crew = Crew(self._command, self._data_dir, redis_url, self._listeners, self._api_socket)
        wipe(crew.metrics_dir)
        self._scrape = ScrapePort(scrape_listener, crew.metrics_dir, self._own_metrics)

        self._slots = list(range(len(self._listeners)))
        recorder = self._unkeep(await crew.spawn_recorder())
        workers = [self._unkeep(await crew.spawn_worker(slot)) for slot in self._slots]
        simulator = await self._spawn_simulator(crew, settings) if settings.simulated else None
        if self._valkey is not None:
            await self._valkey.start()

        crew.tell_recorder(recorder, settings, first=True)
        prepared = await recorder.until_ready()
        if "fault" in prepared:
            raise StartFailed(prepared["fault"])
        for warning in prepared["warnings"]:
            log.warning(warning)
        facts = self._facts(scrape_listener, prepared)
        shown = False
        try:
            self._recorder = Keeper("recorder", crew.recorder_start(settings), self._left)
            await self._keep(self._recorder, recorder)
            if simulator is not None:
                await self._keep_simulator(crew, settings, simulator)
            for slot, child in zip(self._slots, workers, strict=True):
                crew.tell_worker(child, settings, slot)
            for slot, child in zip(self._slots, workers, strict=True):
                await child.until_ready()
                keeper = Keeper(f"worker-{slot}", crew.worker_start(settings, slot), self._left)
                self._workers.append(keeper)
                await self._keep(keeper, child)
            await self._scrape.start()
            lock.announce(self._running(facts))
            log.info("ready", base_url=facts.base_url, metrics_url=facts.metrics_url, workers=len(workers))
            _tell(banner.text(facts))
            shown = True
            await self._start_api(crew, settings)
        finally:
            if facts.first_key is not None and not shown:
                # The key exists from now on and is stored as a hash only: without this line it is lost.
                _tell(f"The start failed, but the first key was made; keep it: {facts.first_key}")

    async def _start_api(self, crew: Crew, settings: Settings) -> None:
        """The API's process, the last of all: traffic neither waits for what it loads nor ends with it.
        Whoever asks the API before it is there waits in its socket."""
        start = crew.api_start(settings, self._api_slot)
        # Until it is there, a stop must not meet a keeper without a child.
        child = self._unkeep(await start())
        self._api = Keeper("api", start, self._left)
        await self._keep(self._api, child)

    async def _spawn_simulator(self, crew: Crew, settings: Settings) -> Child:
        crew.open_simulator_port(settings.simulator.port)
        return self._unkeep(await crew.simulator_start(settings)())

    async def _keep_simulator(self, crew: Crew, settings: Settings, child: Child) -> None:
        await child.until_ready()
        self._simulator = Keeper("simulator", crew.simulator_start(settings))
        await self._keep(self._simulator, child)

    def _unkeep(self, child: Child) -> Child:
        """Remember a child that nobody keeps yet, so that it ends if the start fails."""
        self._unkept.add(child)
        return child

    async def _keep(self, keeper: Keeper, child: Child) -> None:
        self._unkept.discard(child)
        await keeper.begin(child)

    # What the world is told

    def _facts(self, scrape: socket.socket, prepared: Mapping[str, Any]) -> banner.Facts:
        server = self._settings.server
        return banner.Facts(
            version=_version(),
            base_url=f"{listener_url(self._listeners[0], server.host)}/v1",
            metrics_url=f"{listener_url(scrape, server.metrics_host)}/metrics",
            data_dir=self._data_dir,
            simulated=self._settings.simulated,
            providers=tuple(self._settings.providers),
            workers=len(self._listeners),
            model=prepared["model"],
            first_key=prepared["first_key"],
        )

    def _running(self, facts: banner.Facts) -> Running:
        return Running(
            pid=os.getpid(),
            base_url=facts.base_url,
            metrics_url=facts.metrics_url,
            redis_url=self._valkey.url if self._valkey else None,
            simulator_url=self._crew.simulator_url if self._crew else None,
        )

    def _own_metrics(self) -> str:
        ready = sum(keeper.child.ready.done() and not keeper.child.exited.done() for keeper in self._workers)
        starts = {keeper.name: keeper.starts for keeper in self._workers}
        if self._api is not None:
            starts["api"] = self._api.starts
        if self._recorder is not None:
            starts["recorder"] = self._recorder.starts
        if self._valkey is not None:
            starts["valkey"] = self._valkey.starts
        return supervisor_lines(ready, starts)

    def _left(self, child: Child) -> None:
        if self._crew is not None:
            forget_live_gauges(self._crew.metrics_dir, child.name)

    # Signals

    def _ask_stop(self) -> None:
        if self._stop_asked.is_set():
            log.warning("asked to stop again: running requests are not waited for")
            for keeper in self._workers:
                keeper.child.send(signal.SIGKILL)
        else:
            self._stop_asked.set()
            log.info("stopping", drain_s=self._settings.server.drain_s)

    def _hang_up(self) -> None:
        if self._had_terminal and not _has_terminal():
            self._ask_stop()  # its window was closed: that is no wish to read the configuration again
        elif self._reloading is not None and not self._reloading.done():
            log.warning("a reload is running already; send SIGHUP again when it has ended")
        elif self._api is None or self._stop_asked.is_set():
            log.warning("not reloading: starting or stopping")
        else:
            self._reloading = asyncio.create_task(self._reload(), name="reload")

    async def _reload(self) -> None:
        try:
            fresh = self._load()
            if faults := complaints(fresh):
                raise ConfigError(faults)
            if changed := fixed_changes(self._settings, fresh):
                log.warning("these settings are read at a start only and stay as they are", settings=changed)
            _provide_files(fresh.server.connections_max)
            await self._roll(with_fixed(self._settings, fresh))
        except ConfigError as error:
            log.error("reload refused, nothing was changed", complaints=error.complaints)
        except (ChildFailed, AddressBusy, OSError) as error:
            log.error("reload refused, nothing was changed", complaints=[str(error)])
        else:
            log.info("reloaded", workers=len(self._workers))

    async def _roll(self, settings: Settings) -> None:
        """Start the new workers one after the other; only when all are ready do the old ones end."""
        assert self._crew is not None
        assert self._recorder is not None
        assert self._api is not None
        crew, count = self._crew, len(self._listeners)
        if settings.simulated and self._simulator is None:
            await self._keep_simulator(crew, settings, await self._spawn_simulator(crew, settings))
        # A place has two slots, used in turn: two running workers never share a journal or a value file.
        slots = [slot + count if slot < count else slot - count for slot in self._slots]
        fresh: list[Child] = []
        try:
            for slot in slots:
                fresh.append(self._unkeep(await crew.worker_start(settings, slot)()))
                await fresh[-1].until_ready()
            api_slot = 1 - self._api_slot
            api = self._unkeep(await crew.api_start(settings, api_slot)())
            await api.until_ready()
        except ChildFailed:
            await self._end_unkept()
            raise
        self._settings, self._slots, self._api_slot = settings, slots, api_slot
        self._unkept.difference_update([*fresh, api])
        grace_s = settings.server.drain_s + DRAIN_MARGIN_S
        await asyncio.gather(
            *(
                keeper.put(child, crew.worker_start(settings, slot), grace_s)
                for keeper, child, slot in zip(self._workers, fresh, slots, strict=True)
            ),
            self._api.put(api, crew.api_start(settings, api_slot), API_GRACE_S),
            self._recorder.restart(crew.recorder_start(settings), RECORDER_GRACE_S),
        )

    # End

    async def _stop(self) -> None:
        if self._reloading is not None:
            self._reloading.cancel()
            await asyncio.wait({self._reloading})
        close_all(self._listeners)  # the workers hold theirs until they stop accepting
        grace_s = self._settings.server.drain_s + DRAIN_MARGIN_S
        await asyncio.gather(*(keeper.stop(grace_s) for keeper in self._workers))
        if self._api is not None:
            began = self._api.child.ready.done()
            if not await self._api.stop(API_GRACE_S) and began:
                log.warning("the api process did not end cleanly")
        await self._end_unkept()
        if self._recorder is not None and not await self._recorder.stop(RECORDER_GRACE_S):
            log.warning("the recorder did not end cleanly; what it left is recorded at the next start")
        if self._simulator is not None:
            await self._simulator.stop(SIMULATOR_GRACE_S)
        if self._valkey is not None:
            await self._valkey.stop()
        if self._scrape is not None:
            await self._scrape.stop()
        if self._crew is not None:
            self._crew.close_simulator_port()
            remove(self._crew.metrics_dir)
        if self._api_socket is not None:
            self._api_socket.close()

    async def _end_unkept(self) -> None:
        for child in self._unkept:
            child.send(signal.SIGKILL)
        if self._unkept:
            await asyncio.wait({child.exited for child in self._unkept})
        self._unkept.clear()


def _provide_files(connections: int) -> None:
    """For the workers to come."""
    if (too_few := provide_files(connections)) is not None:
        log.warning(too_few)


def _tell(text: str) -> None:
    """Print; that the terminal was closed meanwhile is for its signal to tell."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _forget_lost_output() -> None:
    """What a closed terminal did not take stays buffered, which the interpreter calls a failure at exit."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except OSError:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the process ends


def _version() -> str:
    try:
        return version("tollkeeper")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "(not installed)"


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
