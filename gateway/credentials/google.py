"""Google's access tokens, of a service account or of whatever identity the environment has."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any

from gateway.credentials.awskeys import quieten
from gateway.credentials.credential import CredentialFault, without
from gateway.credentials.lease import Lease, Leased
from gateway.transport import TransportOptions
from gateway.transport.port import Headers
from gateway.transport.tls import client_context

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ASK_S = 5.0
"""Patience with one request for a token; google-auth makes at most three."""
_SAID_MAX = 300


@dataclass(frozen=True, slots=True)
class GoogleToken:
    """An access token, and the project that is billed for its use where that is not the token's own."""

    token: str = field(repr=False)
    billed_to: str | None = None

    def headers(self) -> Headers:
        """As a request carries them."""
        made = [(b"authorization", b"Bearer " + self.token.encode())]
        if self.billed_to:
            made.append((b"x-goog-user-project", self.billed_to.encode()))
        return made


class GoogleCredential:
    """Sends a token of Google's with each request."""

    fixed = None

    def __init__(self, tokens: Leased[GoogleToken]) -> None:
        self._tokens = tokens

    def start(self) -> None:
        """Fetch the first token."""
        self._tokens.start()

    async def headers(
        self, method: bytes, authority: str, target: bytes, headers: Headers, body: bytes
    ) -> Headers:
        """Authorization, with the token in force."""
        return (await self._tokens.get()).headers()

    def rejected(self) -> None:
        """Fetch another token: this one may have been revoked."""
        self._tokens.rejected()

    def redacted(self, words: bytes) -> bytes:
        """The words without the token."""
        token = self._tokens.current
        return without(words, (token.token.encode(),)) if token is not None else words

    def close(self) -> None:
        """Fetch no more."""
        self._tokens.close()

    def __repr__(self) -> str:
        return "GoogleCredential()"


def fetch_token(provider: str, file: Path | None, ca_bundle: Path | None) -> Lease[GoogleToken]:
    """A fresh token for the service account in `file`, or for the application default credentials. Blocks.

    Each call reads the file anew, so that a key that was replaced is seen. `ca_bundle`: authorities to trust
    besides the system's. Raises CredentialFault.
    """
    import google.auth
    import urllib3
    from google.auth import exceptions
    from google.auth.transport.urllib3 import Request
    from google.oauth2 import service_account

    quieten()
    whose = f"Credential of {provider} ({file})" if file is not None else f"Credential of {provider}"
    context = client_context(TransportOptions(origin="https://oauth2.googleapis.com"))
    if ca_bundle is not None:
        folder = ca_bundle.is_dir()
        context.load_verify_locations(None if folder else ca_bundle, ca_bundle if folder else None)
    try:
        with urllib3.PoolManager(ssl_context=context, retries=False) as pool:
            ask: Any = partial(Request(pool), timeout=ASK_S)  # type: ignore[no-untyped-call]
            credentials: Any
            if file is not None:
                read: Any = service_account.Credentials.from_service_account_file
                credentials = read(str(file), scopes=[SCOPE])
            else:
                credentials, _ = google.auth.default(scopes=[SCOPE], request=ask)
            credentials.refresh(ask)
    except exceptions.GoogleAuthError as error:
        # Only the sentence: some carry the whole answer of the token server beside it.
        said = str(error.args[0]) if error.args else ""
        passing = isinstance(error, exceptions.TransportError) or error.retryable
        raise CredentialFault(_said(whose, error, said), refused=not passing) from None
    except OSError as error:
        raise CredentialFault(_said(whose, error, str(error)), refused=True) from None
    except (ValueError, KeyError, TypeError) as error:
        # What it says may be words of the key that could not be read.
        said = f"this is no usable key of a service account ({type(error).__name__})"
        raise CredentialFault(f"{whose}: {said}.", refused=True) from None
    ends = credentials.expiry
    return Lease(
        GoogleToken(credentials.token, getattr(credentials, "quota_project_id", None)),
        ends.replace(tzinfo=UTC).timestamp() if ends is not None else None,
    )


def _said(whose: str, error: Exception, said: str) -> str:
    return f"{whose}: {type(error).__name__}: {' '.join(said.split())[:_SAID_MAX]}"
