"""Who calls, and for whom: credentials and attribution from the headers of one request. Pure.

The key decides first, then `Observe-*` headers, then known aliases of other tools, then the key's defaults.
Two explicit answers that disagree are refused rather than guessed at: the bill would land on the wrong
customer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from accounts.key import KeyRecord, looks_valid
from accounts.scope import allows
from gateway.errors import BadKey, BadRequest, Forbidden

_CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"observe-key"})

_FIELDS = {
    b"observe-customer": "customer",
    b"observe-feature": "feature",
    b"observe-task-id": "task_id",
    b"observe-workspace": "workspace",
    b"observe-user": "user",
    b"observe-trace-id": "trace_id",
}

_ALIASES = {
    b"x-customer-id": "customer",
    b"x-feature-key": "feature",
    b"helicone-user-id": "user",
    b"x-litellm-customer-id": "customer",
}

_PROPERTY = b"observe-property-"
_HELICONE_PROPERTY = b"helicone-property-"
PROPERTIES_MAX = 16
_ID = re.compile(rb"[\x21-\x7e]{1,128}\Z")
_PROPERTY_VALUE = re.compile(rb"[\x20-\x7e]{0,256}\Z")


@dataclass(slots=True)
class Headers:
    """What one pass over a request's headers found."""

    credential: str | None = None
    content_length: int | None = None
    content_encoding: bytes | None = None
    include_cost: bool = False
    customer: str | None = None
    feature: str | None = None
    task_id: str | None = None
    workspace: str | None = None
    user: str | None = None
    trace_id: str | None = None
    aliased: dict[str, str] = field(default_factory=dict)
    properties: dict[str, str] = field(default_factory=dict)


def read_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """One pass over the raw headers (names in lower case, as ASGI gives them)."""
    found = Headers()
    credentials: set[bytes] = set()
    for name, value in headers:
        if name in _CREDENTIALS:
            credentials.add(_secret(name, value))
        elif name in _FIELDS:
            _note(found, _FIELDS[name], name, value)
        elif name in _ALIASES:
            _note_alias(found, _ALIASES[name], name, value)
        elif name.startswith((_PROPERTY, _HELICONE_PROPERTY)):
            _note_property(found, name, value)
        elif name == b"content-length":
            found.content_length = int(value) if value.isdigit() else None
        elif name == b"content-encoding":
            found.content_encoding = value.strip().lower()
        elif name == b"observe-include-cost":
            found.include_cost = value.strip().lower() == b"true"
    if len(credentials) > 1:
        raise BadKey(
            "Two different credentials were sent; send one Tollkeeper key.", code="conflicting_credentials"
        )
    for secret in credentials:
        found.credential = secret.decode("latin-1")
    for noun, aliased in found.aliased.items():
        if getattr(found, noun) is None:
            setattr(found, noun, aliased)
    return found


def _secret(name: bytes, value: bytes) -> bytes:
    value = value.strip()
    if name == b"authorization" and value[:7].lower() == b"bearer ":
        return value[7:].strip()
    return value


def _identifier(name: bytes, value: bytes) -> str:
    value = value.strip()
    if not _ID.match(value):
        raise BadRequest(
            f"Header {name.decode()}: expected 1 to 128 visible ASCII characters.",
            param=name.decode(),
            code="invalid_header",
        )
    return value.decode("ascii")


def _conflict(field_name: str, name: bytes) -> BadRequest:
    return BadRequest(
        f"Headers disagree about the {field_name}: {name.decode()} says another one. Send one.",
        param=name.decode(),
        code="attribution_conflict",
    )


def _note(found: Headers, field_name: str, name: bytes, value: bytes) -> None:
    given = _identifier(name, value)
    if getattr(found, field_name) not in (None, given) or found.aliased.get(field_name, given) != given:
        raise _conflict(field_name, name)
    setattr(found, field_name, given)


def _note_alias(found: Headers, field_name: str, name: bytes, value: bytes) -> None:
    given = _identifier(name, value)
    if found.aliased.get(field_name, given) != given or getattr(found, field_name) not in (None, given):
        raise _conflict(field_name, name)
    found.aliased[field_name] = given


def _note_property(found: Headers, name: bytes, value: bytes) -> None:
    key = name.removeprefix(_PROPERTY).removeprefix(_HELICONE_PROPERTY).decode("ascii", "replace")
    if not key or not _PROPERTY_VALUE.match(value):
        raise BadRequest(
            f"Header {name.decode('latin-1')}: expected at most 256 printable ASCII characters.",
            param=name.decode("latin-1"),
            code="invalid_header",
        )
    if len(found.properties) >= PROPERTIES_MAX and key not in found.properties:
        raise BadRequest(f"At most {PROPERTIES_MAX} properties may be sent.", code="invalid_header")
    found.properties[key] = value.decode("ascii")


def credential(found: Headers) -> str:
    """The key that was sent, if it can be one at all: a wrong checksum needs no look-up."""
    if not found.credential:
        raise BadKey()
    if not looks_valid(found.credential):
        raise BadKey("Incorrect API key provided: it is not a Tollkeeper key (obs_...).")
    return found.credential


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom one request is made, as the key and the headers settle it."""

    key: KeyRecord
    customer: str | None
    feature: str | None


def attribute(key: KeyRecord, found: Headers) -> Caller:
    """Whom this request is for; Forbidden where the key may not speak for them."""
    customer = _settle(
        "customer", key.customer, found.customer, key.assertion, key.customers, key.default_customer
    )
    feature = _settle("feature", key.feature, found.feature, key.assertion, key.features, key.default_feature)
    return Caller(key, customer, feature)


def _settle(
    noun: str,
    bound: str | None,
    asserted: str | None,
    assertion: str,
    listed: tuple[str, ...],
    default: str | None,
) -> str | None:
    if bound is not None:
        if asserted not in (None, bound):
            raise Forbidden(
                f"This key is bound to another {noun}; it cannot speak for {asserted!r}.",
                code=f"{noun}_not_allowed",
                param=f"Observe-{noun.capitalize()}",
            )
        return bound
    if asserted is None:
        return default
    if assertion == "any" or (assertion == "listed" and asserted in listed):
        return asserted
    raise Forbidden(
        f"This key may not speak for the {noun} {asserted!r}.",
        code=f"{noun}_not_allowed",
        param=f"Observe-{noun.capitalize()}",
    )


def require_scope(key: KeyRecord, scope: str) -> None:
    """Forbidden unless the key has the scope."""
    if not allows(key.scopes, scope):
        raise Forbidden(f"This key lacks the scope {scope!r}.", code="insufficient_scope")
