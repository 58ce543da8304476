"""Where Redis is: the URLs an operator writes, and how a socket to each is opened."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from urllib.parse import parse_qs, unquote, urlsplit

DEFAULT_PORT = 6379


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed URL. Either `path` (unix socket) or `host` and `port`."""

    host: str | None
    port: int
    path: str | None
    username: str | None
    password: str | None
    database: int
    tls: bool

    @classmethod
    def of(cls, url: str) -> Address:
        """Parse `redis[s]://[user:password@]host[:port][/db]` or `unix://[user:password@]/path[?db=n]`.

        Of one server; `addresses_of` reads those of several.
        Raises ValueError that names what is wrong and never shows the password.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss", "unix"):
            raise ValueError(
                f"Redis URL: expected redis://, rediss:// or unix://, found {parts.scheme or 'none'!r}"
            )
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        query = parse_qs(parts.query)
        if parts.scheme == "unix":
            path = unquote(parts.path)
            if not path or parts.hostname:
                raise ValueError("Redis URL: unix:// needs a path, such as unix:///run/redis.sock")
            return cls(None, 0, path, username, password, _database(query.get("db", ["0"])[0]), False)
        if not parts.hostname:
            raise ValueError("Redis URL: no host; expected such as redis://localhost:6379/0")
        try:
            port = parts.port or DEFAULT_PORT
        except ValueError:
            raise ValueError("Redis URL: the port must be a number from 1 to 65535") from None
        database = _database(parts.path.strip("/") or query.get("db", ["0"])[0])
        return cls(parts.hostname, port, None, username, password, database, parts.scheme == "rediss")

    def at(self, host: str, port: int) -> Address:
        """Another server that takes the same credentials."""
        return replace(self, host=host, port=port, path=None)

    @property
    def shown(self) -> str:
        """The address without credentials, for messages."""
        return self.path if self.path is not None else f"{self.host}:{self.port}"

    def greeting(self) -> list[tuple[str, ...]]:
        """The commands that a fresh connection sends first."""
        commands: list[tuple[str, ...]] = []
        if self.password is not None:
            commands.append(
                ("AUTH", self.username, self.password) if self.username else ("AUTH", self.password)
            )
        if self.database:
            commands.append(("SELECT", str(self.database)))
        return commands

    async def open(self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], asyncio.Protocol]) -> None:
        """Connect the protocol; OSError when nobody listens there."""
        if self.path is not None:
            await loop.create_unix_connection(protocol, self.path)
            return
        assert self.host is not None
        context = _trusting_the_system() if self.tls else None
        await loop.create_connection(protocol, self.host, self.port, ssl=context)


def addresses_of(url: str) -> tuple[Address, ...]:
    """Parse a URL that may name several servers: `redis[s]://[user:password@]host[:port],host[:port][/db]`.

    They share credentials and database. ValueError as `Address.of`.
    """
    scheme, separator, rest = url.partition("://")
    if scheme == "unix" or not separator:
        return (Address.of(url),)
    end = min((place for mark in "/?#" if (place := rest.find(mark)) >= 0), default=len(rest))
    authority, tail = rest[:end], rest[end:]
    credentials, at, hosts = authority.rpartition("@")
    each = (Address.of(f"{scheme}://{credentials}{at}{host.strip()}{tail}") for host in hosts.split(","))
    return tuple(dict.fromkeys(each))


@cache
def _trusting_the_system() -> ssl.SSLContext:
    # Reading the authorities takes milliseconds, too many for each attempt to find a server that is away.
    return ssl.create_default_context()


def _database(text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"Redis URL: the database must be a number, found {text!r}")
    return int(text)
