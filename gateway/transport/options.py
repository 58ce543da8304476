"""What can be set for the transport of one provider, and the origin it serves."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
CLOCK_GRAIN_S = 0.001
"""uvloop's clock counts milliseconds, so a timer may find its moment not quite come."""

_BASE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(:(?P<port>\d{1,5}))?(?P<path>/[!-~]*)?"
)


class UnusableOptions(ValueError):
    """The transport cannot be built as configured; the sentence says which option is wrong and why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a transport connects to. `host` is without brackets; `path` is the base URL's, "" for none."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read "http(s)://host[:port][/path]"; raises UnusableOptions."""
        match = _BASE_URL.fullmatch(url)
        if match is None or "?" in url or "#" in url:
            raise UnusableOptions(
                f"{url!r}: expected http(s)://host[:port][/path] without user, query, fragment"
            )
        scheme = match["scheme"]
        port = int(match["port"] or (443 if scheme == "https" else 80))
        if not 0 < port < 65536:
            raise UnusableOptions(f"{url!r}: the port must be from 1 to 65535")
        return cls(scheme, match["host"].strip("[]").lower(), port, (match["path"] or "").rstrip("/"))

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The value of the Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def literal(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The address, where the host is one and not a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def names_this_network(self) -> bool:
        """The host itself says that it is not on the internet: a literal that is not global, or localhost."""
        literal = self.literal
        if literal is None:
            return self.host == "localhost" or self.host.endswith(".localhost")
        return not literal.is_global and not literal.is_link_local

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """One provider's transport.

    origin: "https://api.example.com"; a path is refused, because `send` takes the whole target
    (`Origin.parse(base_url)` splits one). allow_private: whether addresses of private networks may be
    connected to; None means yes exactly when the origin itself is such an address or localhost.
    """

    origin: str
    ca_bundle: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    max_connections: int = 1_000
    max_waiting: int = 1_000
    """Requests that may wait for a connection; one more is refused at once."""
    pool_wait_s: float = 1.0
    idle_connection_s: float = 15.0
    """Below the shortest idle limit seen at load balancers, so that we and not they close."""
    connection_life_s: float = 300.0
    """So that changes of DNS are followed."""
    probe_after_s: float = 0.1
    """A connection that rested this long is asked whether its peer has closed it, before it is used."""
    head_bytes_max: int = 64 * KIB
    buffer_bytes_max: int = 256 * KIB
    """Unread body bytes above which reading from the socket pauses."""
    allow_private: bool | None = None

    def parsed_origin(self) -> Origin:
        """The origin; raises UnusableOptions for what can be seen to be wrong without looking at files."""
        origin = Origin.parse(self.origin)
        if origin.path:
            raise UnusableOptions(
                f"{self.origin!r}: an origin has no path; put {origin.path!r} into the target"
            )
        if self.max_connections < 1:
            raise UnusableOptions(f"max_connections must be at least 1, found {self.max_connections}")
        if self.client_key is not None and self.client_certificate is None:
            raise UnusableOptions("client_key is set without client_certificate")
        return origin

    def private_allowed(self, origin: Origin) -> bool:
        """The rule in force for addresses that are not public."""
        return origin.names_this_network if self.allow_private is None else self.allow_private
