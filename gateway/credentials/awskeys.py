"""Amazon's keys: written down in the configuration, or found where Amazon's own tools find them."""

from __future__ import annotations

import logging
from bisect import bisect_left
from dataclasses import dataclass, field
from time import time
from typing import Any

from gateway.credentials.credential import CredentialFault
from gateway.credentials.lease import Lease

_LIFE_MAX_S = 7 * 86_400
"""No temporary key of Amazon's lasts longer than 36 hours."""
_SAID_MAX = 300


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """An access key. Has the names that botocore's signer asks for."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def given_keys(
    provider: str, access_key_id: str | None, secret_access_key: str | None, session_token: str | None
) -> Lease[AwsKeys]:
    """Keys that stand in the configuration.

    Raises CredentialFault where the environment lacks what is named there.
    """
    _load_signer()
    if not access_key_id or not secret_access_key:
        raise CredentialFault(
            f"Credential of {provider}: the environment variables of its keys are not set.", refused=True
        )
    return Lease(AwsKeys(access_key_id, secret_access_key, session_token))


def find_keys(provider: str, profile: str | None, region: str | None) -> Lease[AwsKeys]:
    """Keys of a profile, or of botocore's chain where none is named: environment, shared files, single
    sign-on, web identity, container, instance. Blocks: it reads files, and may ask Amazon's servers.

    Each call looks anew, so that a file that was changed is seen. Raises CredentialFault.
    """
    import botocore.exceptions
    from botocore.session import Session

    _load_signer()
    try:
        session = Session(profile=profile)
        session.set_config_variable("region", region)
        found = session.get_credentials()
        frozen = found.get_frozen_credentials() if found is not None else None
    except botocore.exceptions.ProfileNotFound as error:
        raise CredentialFault(f"Credential of {provider}: {error}", refused=True) from None
    except (
        botocore.exceptions.ConnectionError,
        botocore.exceptions.HTTPClientError,
        botocore.exceptions.MetadataRetrievalError,
    ) as error:
        raise CredentialFault(_said(provider, error), refused=False) from None
    except botocore.exceptions.CredentialRetrievalError as error:
        # Whose provider is the name of a way: all but one ask a server of Amazon's.
        here = error.kwargs.get("provider") == "custom-process"
        raise CredentialFault(_said(provider, error), refused=here) from None
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise CredentialFault(_said(provider, error), refused=not _passes(error)) from None
    except (RuntimeError, OSError, ValueError, KeyError, TypeError) as error:
        raise CredentialFault(_said(provider, error), refused=True) from None
    if frozen is None:
        where = f"the profile {profile!r}" if profile else "the environment, Amazon's files or this machine"
        raise CredentialFault(f"Credential of {provider}: no Amazon keys in {where}.", refused=True)
    return Lease(AwsKeys(frozen.access_key, frozen.secret_key, frozen.token), _end_of(found))


def _load_signer() -> None:
    """Half a second, here in the thread, that the first signature need not take."""
    import botocore.auth
    import botocore.awsrequest  # noqa: F401

    quieten()


def quieten() -> None:
    """At the level debug, botocore's log lines hold session tokens."""
    for name in ("botocore", "google.auth", "google.oauth2", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # These lines say in a traceback what our own line says in a sentence.
    logging.getLogger("botocore.credentials").setLevel(logging.ERROR)


def _end_of(found: Any) -> float | None:
    """When keys end. botocore only tells whether they do within so many seconds."""
    ends_within = getattr(found, "refresh_needed", None)
    if ends_within is None or not ends_within(_LIFE_MAX_S):
        return None
    return time() + bisect_left(range(_LIFE_MAX_S), True, key=ends_within) - 1


def _passes(error: Exception) -> bool:
    """Whether Amazon's own servers failed, and may not fail later."""
    response = getattr(error, "response", {})
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)) >= 500


def _said(provider: str, error: Exception) -> str:
    return f"Credential of {provider}: {type(error).__name__}: {' '.join(str(error).split())[:_SAID_MAX]}"
