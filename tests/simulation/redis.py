"""An in-memory Redis on a virtual clock: scripts, transactions, errors, memory that is full or gets lost.

It decides nothing by itself: time comes from outside, commands arrive one by one, and the same commands at
the same times give the same replies. Faults are what its owner does to it: `restart`, `flush`, `full`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1

from tests.simulation.commands import COMMANDS, OK, Reply, Status
from tests.simulation.keyspace import CommandError, Keyspace
from tests.simulation.lua import allows_full_memory, declares_flags, shared_lua
from tests.simulation.streams import shown  # noqa: F401  - registers the commands of streams

OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'."
SCRIPT_OUT_OF_MEMORY = (
    "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'"
)
NO_SCRIPT = "NOSCRIPT No matching script."

Watcher = Callable[[bytes, list[bytes], list[bytes], Reply], None]
"""Called after each script that did not fail: its source, keys, arguments, reply."""


@dataclass(slots=True)
class Client:
    """One connection's state on the server."""

    queued: list[list[bytes]] | None = None
    refused: bool = False


@dataclass(slots=True)
class Saved:
    """A moment of the server's memory."""

    space: Keyspace
    scripts: dict[bytes, bytes] = field(default_factory=dict)


class SimulatedRedis:
    """One server. `clock_us` gives its wall clock in microseconds since the epoch."""

    def __init__(self, clock_us: Callable[[], int], *, run_id: str = "0" * 40) -> None:
        self._clock_us = clock_us
        self._lua = shared_lua()
        self.space = Keyspace()
        self.scripts: dict[bytes, bytes] = {}
        self.run_id = run_id
        self.full = False
        self.altered: dict[bytes, bytes] = {}
        """Scripts that stand in the places of others: mutants, to prove that a check can fail."""
        self.commands = 0
        self.watch: Watcher = lambda source, keys, args, reply: None
        self.looked: Callable[[list[bytes]], None] = lambda args: None
        """Called after each HMGET of a client: somebody has read a record, and will act upon it."""
        self._served: dict[bytes, Callable[[Client, list[bytes]], Reply]] = {
            b"PING": lambda _client, args: args[0] if args else Status(b"PONG"),
            b"TIME": lambda _client, _args: self._time(),
            b"INFO": lambda _client, _args: self._info(),
            b"SELECT": lambda _client, _args: OK,
            b"CLIENT": lambda _client, _args: OK,
            b"WAIT": lambda _client, _args: 0,
            b"DBSIZE": lambda _client, _args: len(self.space.names()),
            b"FLUSHALL": lambda _client, _args: self._flush(),
            b"SCRIPT": lambda _client, args: self._script(args),
            b"EVAL": lambda _client, args: self._eval(self._learnt(args[0]), args[1:]),
            b"EVALSHA": lambda _client, args: self._eval(self._known(args[0]), args[1:]),
            b"MULTI": self._multi,
            b"EXEC": self._exec,
            b"DISCARD": self._discard,
        }

    def save(self) -> Saved:
        """What is in memory now, to be lost back to."""
        return Saved(self.space.copy(), dict(self.scripts))

    def restart(self, run_id: str, saved: Saved | None = None) -> None:
        """Come back as another run, with all that was written or with what had been saved; without scripts.

        An append-only file is played back without forgetting what expired meanwhile.
        """
        if saved is not None:
            self.space = saved.space.copy()
        self.run_id = run_id
        self.scripts.clear()
        self.full = False

    def execute(self, client: Client, args: list[bytes]) -> Reply:
        """Carry out one command. Raises CommandError, which is an error reply."""
        self.commands += 1
        name = args[0].upper()
        if client.queued is not None and name not in (b"EXEC", b"DISCARD", b"MULTI"):
            fault = self._fault(name, args[1:])
            if fault is not None:
                client.refused = True
                raise CommandError(fault)
            client.queued.append(args)
            return Status(b"QUEUED")
        self.space.now_ms = self._clock_us() // 1000
        reply = self._carry_out(client, name, args[1:])
        if name == b"HMGET":
            self.looked(args)
        return reply

    def _carry_out(self, client: Client, name: bytes, args: list[bytes]) -> Reply:
        served = self._served.get(name)
        if served is not None:
            return served(client, args)
        fault = self._fault(name, args)
        if fault is not None:
            raise CommandError(fault)
        return COMMANDS[name][0](self.space, args)

    def _fault(self, name: bytes, args: list[bytes]) -> str | None:
        """Why the command is refused before it begins."""
        if name in self._served:
            return None
        known = COMMANDS.get(name)
        if known is None:
            return f"ERR unknown command '{name.decode('latin-1')}', with args beginning with: "
        _, least, most, grows = known
        if len(args) < least or (most is not None and len(args) > most):
            return f"ERR wrong number of arguments for '{name.decode().lower()}' command"
        return OUT_OF_MEMORY if grows and self.full else None

    def _eval(self, source: bytes, args: list[bytes]) -> Reply:
        count = int(args[0])
        keys, argv = args[1 : 1 + count], args[1 + count :]
        lenient = allows_full_memory(source)
        if self.full and declares_flags(source) and not lenient:
            raise CommandError(SCRIPT_OUT_OF_MEMORY)
        full = self.full

        def invoke(command: list[bytes]) -> Reply:
            name = command[0].upper()
            if name in (b"TIME", b"INFO"):
                return self._served[name](_NOBODY, command[1:])
            if name in self._served:
                raise CommandError("ERR This Redis command is not allowed from script")
            return self._carry_out(_NOBODY, name, command[1:])

        if lenient:
            self.full = False
        try:
            reply = self._lua.run(self.altered.get(source, source), keys, argv, invoke)
        finally:
            self.full = full
        self.watch(source, keys, argv, reply)
        return reply

    def _known(self, digest: bytes) -> bytes:
        source = self.scripts.get(digest.lower())
        if source is None:
            raise CommandError(NO_SCRIPT)
        return source

    def _learnt(self, source: bytes) -> bytes:
        if source not in self.scripts.values():
            self.scripts[_digest(source)] = source
        return source

    def _script(self, args: list[bytes]) -> Reply:
        word = args[0].upper()
        if word == b"LOAD":
            self._lua.check(args[1])
            digest = _digest(args[1])
            self.scripts[digest] = args[1]
            return digest
        if word == b"EXISTS":
            return [int(digest.lower() in self.scripts) for digest in args[1:]]
        if word == b"FLUSH":
            self.scripts.clear()
            return OK
        raise CommandError(f"ERR unknown subcommand '{args[0].decode('latin-1')}'. Try SCRIPT HELP.")

    def _multi(self, client: Client, _args: list[bytes]) -> Reply:
        if client.queued is not None:
            raise CommandError("ERR MULTI calls can not be nested")
        client.queued, client.refused = [], False
        return OK

    def _discard(self, client: Client, _args: list[bytes]) -> Reply:
        if client.queued is None:
            raise CommandError("ERR DISCARD without MULTI")
        client.queued = None
        return OK

    def _exec(self, client: Client, _args: list[bytes]) -> Reply:
        queued, client.queued = client.queued, None
        if queued is None:
            raise CommandError("ERR EXEC without MULTI")
        if client.refused:
            raise CommandError("EXECABORT Transaction discarded because of previous errors.")
        replies: list[Reply] = []
        for args in queued:
            try:
                replies.append(self._carry_out(client, args[0].upper(), args[1:]))
            except CommandError as error:
                replies.append(error)
        return replies

    def _flush(self) -> Reply:
        self.space.values.clear()
        self.space.expiries.clear()
        return OK

    def _time(self) -> Reply:
        seconds, micros = divmod(self._clock_us(), 1_000_000)
        return [b"%d" % seconds, b"%d" % micros]

    def _info(self) -> Reply:
        lines = {
            "redis_version": "7.2.4",
            "redis_mode": "standalone",
            "run_id": self.run_id,
            "role": "master",
            "loading": "0",
            "aof_enabled": "1",
            "maxmemory": "0",
            "maxmemory_policy": "noeviction",
            "used_memory": "1000000",
            "cluster_enabled": "0",
        }
        return "".join(f"{name}:{value}\r\n" for name, value in lines.items()).encode()


_NOBODY = Client()


def _digest(source: bytes) -> bytes:
    return sha1(source, usedforsecurity=False).hexdigest().encode()
