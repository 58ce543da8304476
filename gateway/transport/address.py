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

# Metadata and credential services outside the link-local ranges: Alibaba Cloud, Azure, Oracle Cloud, AWS and
# its EKS over IPv6, Google Cloud over IPv6.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
# Ranges that are no one's on the internet, though not every release of Python says so: IETF protocols, 6to4
# relays, translation of a network's own, site-local, segment routing, documentation.
_NOT_GLOBAL = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",
        "192.88.99.0/24",
        "64:ff9b:1::/48",
        "fec0::/10",
        "5f00::/16",
        "3fff::/20",
    )
)
# The last 32 bits are the IPv4 address that is reached: mapped, compatible, translated, NAT64.
_V4_AT_THE_END = tuple(
    ipaddress.IPv6Network(text) for text in ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")
)
_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
_ISATAP = (0x00005EFE, 0x02005EFE)


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
    for each in _led_to(ip):
        if each.is_link_local or each.is_multicast or each in _METADATA:
            return False
        public = each.is_global and not any(each in network for network in _NOT_GLOBAL)
        if not public and not allow_private:
            return False
    return True


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


def _led_to(ip: IP) -> list[IP]:
    """The addresses that packets for this one may reach."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    bits = int(ip)
    if any(ip in network for network in _V4_AT_THE_END):
        return [ipaddress.IPv4Address(bits & 0xFFFFFFFF)]
    if ip.sixtofour is not None:
        return [ip.sixtofour]
    if ip.teredo is not None:
        return [ip, *ip.teredo]
    if ip in _LOCAL_NAT64:
        # By RFC 6052 a network may put the address at the end, or around the byte that is always zero.
        around = (bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF
        return [ip, ipaddress.IPv4Address(bits & 0xFFFFFFFF), ipaddress.IPv4Address(around)]
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        return [ip, ipaddress.IPv4Address(bits & 0xFFFFFFFF)]
    return [ip]
