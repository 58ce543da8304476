"""Upstream: one configured provider as the gateway speaks to it: address, credential, habits, transport."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.settings import ProviderSettings
from gateway.transport import TransportOptions, build_transport
from gateway.transport.port import Answer, Timeouts, Transport

PATHS = {
    "chat.completions": b"/chat/completions",
    "completions": b"/completions",
    "embeddings": b"/embeddings",
    "moderations": b"/moderations",
}
_MAX_COMPLETION_PRICES = frozenset({"openai", "azure"})


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider of the OpenAI format.

    `paths`: surface name -> request target. `headers`: what every request to it carries, the credential
    among them; nothing a client sent is ever added to them.
    """

    name: str
    prices: str
    transport: Transport
    paths: dict[str, bytes]
    headers: tuple[tuple[bytes, bytes], ...]
    timeouts: Timeouts
    include_usage: bool
    maximum_field: str
    cancel_stops_billing: bool

    async def send(self, surface: str, body: bytes, request_id: str, *, stream: bool, fresh: bool) -> Answer:
        """Send one attempt; raises TransportError where no answer's head arrives."""
        headers = [
            *self.headers,
            (b"accept", b"text/event-stream" if stream else b"application/json"),
            (b"x-client-request-id", request_id.encode()),
        ]
        return await self.transport.send(
            b"POST", self.paths[surface], headers, body, timeouts=self.timeouts, fresh=fresh
        )


def build_upstream(name: str, settings: ProviderSettings, *, version: str) -> Upstream:
    """The upstream that the settings of one provider describe."""
    base = urlsplit(settings.base_url)
    headers = [(b"content-type", b"application/json"), (b"user-agent", f"tollkeeper/{version}".encode())]
    if settings.secret:
        headers.append((b"authorization", b"Bearer " + settings.secret.encode()))
    prices = settings.prices or name
    field = settings.maximum_field
    if field == "auto":
        field = "max_completion_tokens" if prices in _MAX_COMPLETION_PRICES else "max_tokens"
    times = settings.timeouts
    options = TransportOptions(
        origin=f"{base.scheme}://{base.netloc}",
        ca_bundle=settings.ca_bundle,
        client_certificate=settings.client_certificate,
        client_key=settings.client_key,
        max_connections=settings.max_connections,
        allow_private=settings.allow_private,
    )
    return Upstream(
        name=name,
        prices=prices,
        transport=build_transport(options, settings.transport),
        paths={surface: base.path.encode() + path for surface, path in PATHS.items()},
        headers=tuple(headers),
        timeouts=Timeouts(
            connect_s=times.connect_s,
            first_byte_s=times.first_byte_s,
            idle_s=times.idle_s,
            total_s=times.total_s,
        ),
        include_usage=settings.include_usage,
        maximum_field=field,
        cancel_stops_billing=settings.cancel_stops_billing,
    )
