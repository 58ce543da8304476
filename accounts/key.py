"""The key: how its secret is made and told from other strings, and what is recorded of it. No I/O."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any
from zlib import crc32

import orjson

from metering.ids import CHILD

PREFIX = "obs_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BODY_CHARS = 43
"""62**43 > 2**256: room for 256 random bits."""
CHECK_CHARS = 6
"""62**6 > 2**32: room for a CRC-32, which tells mistyped and invented keys without a look-up."""
SECRET_CHARS = len(PREFIX) + BODY_CHARS + CHECK_CHARS

ASSERTIONS = ("none", "listed", "any")
ON_LEDGER_DOWN = ("closed", "open", "allowance")
_DOCUMENT_PREFIX = "t2:key:"
_ALLOWED = frozenset(ALPHABET)
_SECRETS_MAX = 4_096
"""Secrets whose digest is remembered: those that come again and again, in memory alone."""
_FIRST = (*("id", "account_id", "name", "version", "status", "expires_ms", "scopes", "assertion"), "limits")
"""Of what every document tells; what came later has a default."""
_TUPLES = frozenset({"scopes", "customers", "features", "routes", "models", "sources", "required"})


def mint() -> tuple[str, str]:
    """A new secret and its digest. The secret is shown once and kept nowhere."""
    body = PREFIX + _base62(secrets.randbits(256), BODY_CHARS)
    secret = body + _checksum(body)
    return secret, digest(secret)


@lru_cache(maxsize=_SECRETS_MAX)
def looks_valid(secret: str) -> bool:
    """True when the string has a key's form and its checksum fits; says nothing of whether it exists."""
    if len(secret) != SECRET_CHARS or not secret.startswith(PREFIX):
        return False
    if not _ALLOWED.issuperset(secret[len(PREFIX) :]):
        return False
    return secret[-CHECK_CHARS:] == _checksum(secret[:-CHECK_CHARS])


@lru_cache(maxsize=_SECRETS_MAX)
def digest(secret: str) -> str:
    """SHA-256 as 64 hexadecimal digits. 256 random bits need no salt and no slow function."""
    return sha256(secret.encode()).hexdigest()


def document_name(key_digest: str) -> str:
    """Where a key's document lies in Redis."""
    return _DOCUMENT_PREFIX + key_digest


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits))


def _checksum(body: str) -> str:
    return _base62(crc32(body.encode()), CHECK_CHARS)


@dataclass(frozen=True, slots=True)
class KeyLimit:
    """A limit as recorded and published. The value in force is the ledger's; this copy may be older than it.

    scope_id: what it is on, or `*` (as a whole or as a part) where each has a limit of its own. value:
    nano-USD for the kind money, else a count. time_zone, anchor: when its windows begin. thresholds: rising
    percents of the value. created_ms: counting began then.
    """

    id: str
    scope: str
    scope_id: str
    window: str
    kind: str
    enforcement: str
    value: int
    version: int = 1
    time_zone: str = "UTC"
    anchor: int = 1
    thresholds: tuple[int, ...] = ()
    created_ms: int = 0

    @property
    def value_id(self) -> str:
        """How its value in force is called: as the limit is."""
        return self.id

    @property
    def carry(self) -> None:
        """What is not used of a window is gone with it."""

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> KeyLimit:
        """The limit in a part of a document; unknown fields are ignored. KeyError, TypeError: none is."""
        values = {name: fields[name] for name in cls.__slots__}
        values["thresholds"] = tuple(values["thresholds"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is known of a key, but for its secret.

    customer, feature: whom the key is bound to; nothing a client says overrides it. assertion: what a client
    may say otherwise: nothing, what is listed in customers and features, or anything. limits: those on this
    one key and on the keys above it, whose ids begin this one's. on_ledger_down: closed refuses when the
    ledger is away, open goes on, allowance goes on up to allowance_nano; without a choice of its own
    (`ledger_down_chosen` False) a key with limits is closed. display: the secret's last four characters.
    routes: what it may ask for, models: which may serve it, as names or beginnings with a `*`; empty for all.
    sources: where else than in headers it may be told for whom it calls; required: the headers that it must
    tell. secret_ends_ms: for one of its earlier secrets, until when that one works.
    """

    id: str
    account_id: str
    name: str
    version: int
    status: str
    expires_ms: int | None
    scopes: tuple[str, ...]
    customer: str | None
    feature: str | None
    assertion: str
    customers: tuple[str, ...]
    features: tuple[str, ...]
    default_customer: str | None
    default_feature: str | None
    limits: tuple[KeyLimit, ...]
    on_ledger_down: str
    display: str
    allowance_nano: int = 0
    ledger_down_chosen: bool = False
    routes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    secret_ends_ms: int | None = None

    @property
    def parent_id(self) -> str | None:
        """The key that this one is a child of."""
        return self.id.rpartition(CHILD)[0] or None

    @property
    def own_limits(self) -> tuple[KeyLimit, ...]:
        """Those on this very key."""
        return tuple(limit for limit in self.limits if limit.scope_id == self.id)

    def usable(self, now_ms: int) -> bool:
        """Active and not expired: for calls that do not go through the ledger, which checks it itself."""
        return (
            self.status == "active"
            and (self.expires_ms is None or now_ms < self.expires_ms)
            and not self.secret_ended(now_ms)
        )

    def secret_ended(self, now_ms: int) -> bool:
        """Whether the secret that led here is an earlier one whose time is over."""
        return self.secret_ends_ms is not None and now_ms >= self.secret_ends_ms

    def when_ledger_down(self, *, limited: bool) -> str:
        """closed, open or allowance, for a request on which limits of any scope apply (`limited`) or none.

        A key that nobody chose this for must not go on where a limit of its account or customer applies.
        """
        if limited and not self.ledger_down_chosen:
            return "closed"
        return self.on_ledger_down

    def to_document(self) -> bytes:
        """The record as JSON, for Redis."""
        return orjson.dumps(self)

    @classmethod
    def from_document(cls, document: bytes | Mapping[str, Any]) -> KeyRecord:
        """The record in a document; unknown fields are ignored. ValueError: not a key's document."""
        fields = orjson.loads(document) if isinstance(document, bytes) else document
        try:
            values = {name: fields[name] for name in cls.__slots__ if name in fields or name in _FIRST}
            for name in _TUPLES & values.keys():
                values[name] = tuple(values[name])
            values["limits"] = tuple(KeyLimit.from_fields(limit) for limit in values["limits"])
            return cls(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a key's document: {error!r}") from None
