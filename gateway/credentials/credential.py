"""What the upstream asks of a credential, and the fault where none is to be had."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from gateway.transport.errors import TransportError
from gateway.transport.port import Headers


class CredentialFault(TransportError):
    """There was no credential for a request, so it was not sent.

    `refused`: it will not get better by itself, because what we identify ourselves with is missing or was
    refused: the operator must mend it. Otherwise whoever gives the credential did not answer, and may later.
    """

    def __init__(self, message: str, *, refused: bool) -> None:
        super().__init__(message, request_sent=False)
        self.refused = refused


class Credential(Protocol):
    """Makes requests to one provider ours."""

    @property
    def fixed(self) -> tuple[tuple[bytes, bytes], ...] | None:
        """The headers, where they are the same for every request; `headers` need not be asked then."""

    def start(self) -> None:
        """Begin to fetch what must be, so that the first request need not wait. For a running loop."""

    async def headers(
        self, method: bytes, authority: str, target: bytes, headers: Headers, body: bytes
    ) -> Headers:
        """What to add to a request's headers.

        `authority`: the Host that is sent. `headers`: what is sent besides, without Host and
        Content-Length, which the transport writes. Waits only while nothing was fetched yet, or what was has
        ended. Raises CredentialFault.
        """

    def rejected(self) -> None:
        """The provider refused a request with 401 or 403: what was fetched may be good no more."""

    def redacted(self, words: bytes) -> bytes:
        """What a provider said, without what is secret in what we sent."""

    def close(self) -> None:
        """Fetch nothing any more."""


def without(words: bytes, secrets: Iterable[bytes]) -> bytes:
    """Words in which each of the secrets is blotted out."""
    for secret in secrets:
        if secret:
            words = words.replace(secret, b"[redacted]")
    return words
