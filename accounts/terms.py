"""Terms: what is published of an account and of a customer, and who holds which limit. No I/O.

A limit on one key stands in that key's document. One on a single customer, or on its workspaces or its use
of features, stands in the customer's list; every other one in the account's list. So a caller needs three
documents at most, and all but the account's are few limits long. The account's document also has the policy
on customers, a customer's the subscriptions: plans themselves are documents of their own (accounts.plan).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from accounts.key import KeyLimit
from accounts.plan import EACH, PART_SEPARATOR
from accounts.policy import Policy
from accounts.subscription import Subscription

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
    """The account's list. `has_customer_terms`: some customer has a document of its own, so ask for it.

    `policy`: None where there are no plans, so that nothing is asked of customers.
    """

    version: int
    limits: tuple[KeyLimit, ...]
    has_customer_terms: bool
    policy: Policy | None = None

    def to_document(self) -> bytes:
        """The list as JSON, for Redis."""
        return orjson.dumps(self)

    @classmethod
    def from_document(cls, document: bytes) -> AccountTerms:
        """The list in a document; unknown fields are ignored. ValueError: not an account's document."""
        fields = orjson.loads(document)
        try:
            policy = fields.get("policy")
            return cls(
                int(fields["version"]),
                _limits(fields),
                bool(fields["has_customer_terms"]),
                None if policy is None else Policy.from_fields(policy),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an account's list of limits: {error!r}") from None


@dataclass(frozen=True, slots=True)
class CustomerTerms:
    """One customer's own limits and subscriptions; empty when it had some once.

    `registered`: somebody recorded the customer, not only limits on it. `subscriptions`: the present one and
    later ones, and the last one that has ended.
    """

    version: int
    limits: tuple[KeyLimit, ...]
    registered: bool = False
    subscriptions: tuple[Subscription, ...] = ()

    def to_document(self) -> bytes:
        """The customer's document as JSON, for Redis."""
        return orjson.dumps(
            {
                "version": self.version,
                "limits": self.limits,
                "registered": self.registered,
                "subscriptions": [each.to_fields() for each in self.subscriptions],
            }
        )

    @classmethod
    def from_document(cls, document: bytes) -> CustomerTerms:
        """The list in a document; unknown fields are ignored. ValueError: not a customer's document."""
        fields = orjson.loads(document)
        try:
            subscriptions = tuple(map(Subscription.from_fields, fields.get("subscriptions", ())))
            return cls(int(fields["version"]), _limits(fields), bool(fields.get("registered")), subscriptions)
        except (KeyError, TypeError, AttributeError) as error:
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
