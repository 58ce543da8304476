"""Terms: the lists of limits that are on no single key, as published, and who holds which limit. No I/O.

A limit on one key stands in that key's document. One on a single customer, or on its workspaces or its use
of features, stands in the customer's list; every other one in the account's list. So a caller needs three
documents at most, and all but the account's are few limits long.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from accounts.key import KeyLimit

EACH = "*"
PART_SEPARATOR = "\x1f"
Holder = Literal["account", "customer", "key"]
_OF_CUSTOMERS = ("customer", "workspace", "customer_feature")


@dataclass(frozen=True, slots=True)
class NewLimit:
    """A limit to be set with a new key. `value`: nano-USD for the kind money, else a count."""

    window: str
    value: int
    enforcement: str = "hard"
    kind: str = "money"
    time_zone: str = "UTC"
    anchor: int = 1
    thresholds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AccountTerms:
    """The account's list. `has_customer_terms`: some customer has a list of its own, so ask for it."""

    version: int
    limits: tuple[KeyLimit, ...]
    has_customer_terms: bool

    def to_document(self) -> bytes:
        """The list as JSON, for Redis."""
        return orjson.dumps(self)

    @classmethod
    def from_document(cls, document: bytes) -> AccountTerms:
        """The list in a document; unknown fields are ignored. ValueError: not an account's document."""
        fields = orjson.loads(document)
        try:
            return cls(int(fields["version"]), _limits(fields), bool(fields["has_customer_terms"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not an account's list of limits: {error!r}") from None


@dataclass(frozen=True, slots=True)
class CustomerTerms:
    """One customer's own list; empty when it had limits once."""

    version: int
    limits: tuple[KeyLimit, ...]

    def to_document(self) -> bytes:
        """The list as JSON, for Redis."""
        return orjson.dumps(self)

    @classmethod
    def from_document(cls, document: bytes) -> CustomerTerms:
        """The list in a document; unknown fields are ignored. ValueError: not a customer's document."""
        fields = orjson.loads(document)
        try:
            return cls(int(fields["version"]), _limits(fields))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a customer's list of limits: {error!r}") from None


def holder_of(account_id: str, scope: str, scope_id: str) -> tuple[Holder, str]:
    """In whose document a limit on this scope is published: the holder and its id."""
    if scope == "key" and scope_id != EACH:
        return "key", scope_id
    if scope in _OF_CUSTOMERS:
        customer = scope_id.partition(PART_SEPARATOR)[0]
        if customer != EACH:
            return "customer", customer
    return "account", account_id


def _limits(fields: Any) -> tuple[KeyLimit, ...]:
    return tuple(KeyLimit.from_fields(limit) for limit in fields["limits"])
