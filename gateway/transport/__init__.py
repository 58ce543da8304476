"""The way to the providers: one pooled HTTP/1.1 transport per provider, with money-aware faults.

transport   sends requests to one origin and answers with answers (`port.Transport`)
answer      a head that has arrived and a body that may still be arriving (`port.Answer`)
timeouts    connect, first byte, idle, total: each counted separately (`port.Timeouts`)
fault       a TransportError; each says whether the request may have been read, and so billed (`errors`)
options     origin, trust, client certificate, bounds, and the guard (`options.TransportOptions`)
guard       the rule which addresses a name may lead to; what is checked is what is dialled (`address`)
connection  one socket with its parser and its deadlines (`connection`), kept by the pool (`pool`)

Two forms of the port, one contract suite: `native` is the pool here; `aiohttp` drives the transport of
httpx-aiohttp (an extra, imported only when chosen). `httpx2_transport` shows either of them to an
`httpx2.AsyncClient`, for everything off the hot path.

Not owned here: retries, fallbacks, which provider is asked, what an answer means, and what it costs. Nothing
is followed, repeated or decompressed unless it says so above; proxies named by the environment are not used.
"""

from __future__ import annotations

from typing import Literal

from gateway.transport.options import Origin, TransportOptions, UnusableOptions
from gateway.transport.pool import PooledTransport
from gateway.transport.port import Answer, Headers, Timeouts, Transport

__all__ = [
    "Answer",
    "Headers",
    "Kind",
    "Origin",
    "Timeouts",
    "Transport",
    "TransportOptions",
    "UnusableOptions",
    "build_transport",
]

Kind = Literal["native", "aiohttp"]


def build_transport(options: TransportOptions, kind: Kind = "native") -> Transport:
    """The transport of one provider. Raises UnusableOptions, also where the extra is not installed."""
    if kind == "native":
        return PooledTransport(options)
    try:
        from gateway.transport.aiohttp_transport import AiohttpPortTransport
    except ImportError as error:
        raise UnusableOptions(
            f"transport: aiohttp needs the extra: pip install 'tollkeeper[aiohttp]' ({error})"
        ) from None
    return AiohttpPortTransport(options)
