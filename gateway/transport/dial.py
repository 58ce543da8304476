"""From an origin to a connected, trusted socket: name, guard, TCP, TLS, within one patience."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Protocol, TypeVar

from gateway.transport.address import Address, resolve
from gateway.transport.errors import ConnectFailed, ConnectTimeout, TlsFailed, TotalTimeout
from gateway.transport.options import TransportOptions
from gateway.transport.tls import client_context

P = TypeVar("P", bound=asyncio.Protocol)


class Dials(Protocol):
    """Whatever opens connections to one place."""

    async def connect(self, build: Callable[[], P], connect_s: float, total_at: float) -> P:
        """A protocol with its connection made. Raises ConnectFailed and its kinds, TotalTimeout."""


class Dialer:
    """Opens connections to one origin and remembers which of its addresses answered last."""

    def __init__(self, options: TransportOptions) -> None:
        """Raises UnusableOptions."""
        self._origin = options.parsed_origin()
        self._private_allowed = options.private_allowed(self._origin)
        self._tls: ssl.SSLContext | None = client_context(options) if self._origin.secure else None
        self._preferred: Address | None = None

    async def connect(self, build: Callable[[], P], connect_s: float, total_at: float) -> P:
        """A protocol with its connection made. Raises ConnectFailed and its kinds, TotalTimeout."""
        loop = asyncio.get_running_loop()
        until = min(loop.time() + connect_s, total_at)
        try:
            async with asyncio.timeout_at(until):
                raw = await self._dial(loop, until)
                try:
                    return await self._shake_hands(loop, raw, build)
                except BaseException:
                    raw.close()
                    raise
        except TimeoutError:
            if until >= total_at:
                said = f"{self._origin}: not connected within the total time"
                raise TotalTimeout(said, request_sent=False) from None
            raise ConnectTimeout(f"{self._origin}: not connected within {connect_s:g} s") from None

    async def _dial(self, loop: asyncio.AbstractEventLoop, until: float) -> socket.socket:
        """A connected socket to one of the permitted addresses, the one that worked last time first."""
        addresses = await resolve(self._origin, allow_private=self._private_allowed)
        if self._preferred in addresses:
            addresses.sort(key=lambda address: address != self._preferred)
        faults: list[str] = []
        last: OSError | None = None
        for position, address in enumerate(addresses):
            # What is left is shared out, so that one dead address (an IPv6 route, say) does not use it up.
            share_s = (until - loop.time()) / (len(addresses) - position)
            try:
                async with asyncio.timeout(share_s):
                    raw = await _connected(loop, address)
            except OSError as error:  # TimeoutError is one
                faults.append(f"{address.ip}: {str(error) or 'no answer'}")
                last = error
            else:
                self._preferred = address
                return raw
        # The last share was all that was left; its timer may go off a tick of the clock before that.
        if isinstance(last, TimeoutError) or loop.time() >= until:
            raise TimeoutError
        raise ConnectFailed(f"{self._origin} cannot be reached: {'; '.join(faults)}")

    async def _shake_hands(
        self, loop: asyncio.AbstractEventLoop, raw: socket.socket, build: Callable[[], P]
    ) -> P:
        if self._tls is None:
            _, protocol = await loop.create_connection(build, sock=raw)
            return protocol
        host = self._origin.host
        try:
            _, protocol = await loop.create_connection(build, sock=raw, ssl=self._tls, server_hostname=host)
        except ssl.SSLError as error:
            raise TlsFailed(f"{self._origin}: TLS handshake failed: {_said(error)}") from error
        except TimeoutError:
            raise
        except OSError as error:
            raise TlsFailed(f"{self._origin} ended the connection in the TLS handshake: {error}") from error
        return protocol


async def _connected(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    raw = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _keep_alive(raw)
        await loop.sock_connect(raw, address.sockaddr)
    except BaseException:
        raw.close()
        raise
    return raw


def _keep_alive(raw: socket.socket) -> None:
    """Probe silent connections, so that a long thought is not forgotten by the NATs on its way."""
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5)):  # s, s, probes
        option = getattr(socket, name, None)
        if option is not None:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)


def _said(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    return error.reason or str(error)
