"""Names to addresses, and the guard: which addresses a provider's name may lead to.

What is checked is what is connected to: the caller dials one of the addresses returned here, never the name,
so a name that resolves differently a moment later gains nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass

from gateway.transport.errors import AddressRefused, ConnectFailed
from gateway.transport.options import Origin

IP = ipaddress.IPv4Address | ipaddress.IPv6Address

# Metadata services that lie outside the link-local ranges (Alibaba Cloud, Azure, AWS over IPv6).
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("100.100.100.200", "168.63.129.16", "fd00:ec2::254")
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Address:
    """One place to connect to: what `socket.connect` takes."""

    family: socket.AddressFamily
    ip: str
    port: int
    scope: int = 0

    @property
    def sockaddr(self) -> tuple[str, int] | tuple[str, int, int, int]:
        return (self.ip, self.port, 0, self.scope) if self.family is socket.AF_INET6 else (self.ip, self.port)


def is_permitted(ip: IP, *, allow_private: bool) -> bool:
    """Whether an upstream may live at `ip`.

    Link-local, metadata and multicast addresses never; loopback, private and shared ranges only with
    `allow_private`. Addresses that embed an IPv4 address are judged by that one.
    """
    ip = _embedded(ip)
    if ip.is_link_local or ip.is_multicast or ip in _METADATA:
        return False
    return ip.is_global or allow_private


async def resolve(origin: Origin, *, allow_private: bool) -> list[Address]:
    """The permitted addresses of an origin in the resolver's order.

    Raises AddressRefused when there are only others, ConnectFailed when the name cannot be resolved.
    """
    found = await _look_up(origin)
    permitted = [
        address
        for address in found
        if is_permitted(ipaddress.ip_address(address.ip), allow_private=allow_private)
    ]
    if permitted:
        return permitted
    shown = ", ".join(address.ip for address in found[:4])
    raise AddressRefused(
        f"{origin}: {shown} is not a public address; if the provider runs on your own network, set "
        "allow_private (link-local and metadata addresses are refused always)"
    )


async def _look_up(origin: Origin) -> list[Address]:
    literal = origin.literal
    if literal is not None:
        family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
        return [Address(family, str(literal), origin.port)]
    loop = asyncio.get_running_loop()
    try:
        infos = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(f"{origin}: the name cannot be resolved: {error}") from error
    return [
        Address(
            socket.AddressFamily(family), str(where[0]), origin.port, int(where[3]) if len(where) == 4 else 0
        )
        for family, _, _, _, where in infos
    ]


def _embedded(ip: IP) -> IP:
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip
