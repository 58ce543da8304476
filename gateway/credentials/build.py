"""What makes credentials of a provider's settings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.credentials.awskeys import AwsKeys, find_keys, given_keys
from gateway.credentials.credential import Credential
from gateway.credentials.google import GoogleCredential, GoogleToken, fetch_token
from gateway.credentials.header import HeaderCredential
from gateway.credentials.lease import Lease, Leased
from gateway.credentials.sigv4 import SigV4Credential
from gateway.settings import ProviderSettings

Maker = Callable[[str, str | None], Credential]
"""The credential for one address (its base_url) and one key."""


def credential_maker(provider: str, settings: ProviderSettings) -> Maker:
    """What makes the credentials of a provider's endpoints, which share what is fetched."""
    auth = settings.auth
    if auth.kind == "google":
        fetch = partial(fetch_token, provider, auth.credentials_file, settings.ca_bundle)
        google = GoogleCredential(Leased[GoogleToken](provider, fetch))
        return lambda base_url, secret: google
    if auth.kind == "sigv4":
        keys = Leased[AwsKeys](provider, _keys(provider, settings))
        return lambda base_url, secret: SigV4Credential(
            keys,
            region=auth.region_of(base_url) or "",
            service=auth.service,
            secure=base_url.startswith("https:"),
        )
    return lambda base_url, secret: HeaderCredential(auth.kind, secret)


def _keys(provider: str, settings: ProviderSettings) -> Callable[[], Lease[AwsKeys]]:
    auth = settings.auth
    if auth.has_keys:
        return partial(
            given_keys,
            provider,
            auth.secret("access_key_id"),
            auth.secret("secret_access_key"),
            auth.secret("session_token"),
        )
    first = settings.regions[0].base_url if settings.regions else settings.base_url
    return partial(find_keys, provider, auth.profile, auth.region_of(first))
