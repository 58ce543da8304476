"""Entitlements: what a customer's plan grants, by this worker's copies, and how much of it is used.

A copy that grants may be old: `open` tells. A copy that refuses would never be asked about, so before a
refusal is told the versions that are in force are looked up (`in_force`), which costs no document. Versions
of plans never change, so they are kept for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar

from accounts.entitlement import Entitlement, Place, entitle, place, told
from accounts.key import KeyRecord
from accounts.plan import PlanVersion
from accounts.policy import Policy
from accounts.terms import AccountTerms, CustomerTerms
from accounts.termscache import TermsCache
from budgets.ledger import LedgerUnavailable
from budgets.limit import Attribution, LimitTerms, scope_key
from budgets.limitusage import LimitUsage, usage_of
from budgets.names import names_of
from budgets.rowset import rows_of
from gateway.errors import LEDGER_AWAY, BadKey, Forbidden, Unavailable

Command = Callable[..., Awaitable[Any]]
"""Sends one command to the ledger's server; raises LedgerUnavailable."""
PLANS_MAX = 10_000
_OF_CUSTOMER = frozenset({"customer_unnamed", "customer_unknown", "no_subscription"})
_OF_CUSTOMER |= {"subscription_not_started", "subscription_ended"}


class NotEntitled(Forbidden):
    """This customer's plan does not allow that."""

    default_code: ClassVar[str] = "entitlement_denied"


class Entitlements:
    """The plans that this worker has met, and the versions in force."""

    def __init__(self, command: Command, terms: TermsCache) -> None:
        self._command = command
        self._terms = terms
        self._plans: dict[tuple[str, str, int], PlanVersion] = {}

    async def terms(
        self, account_id: str, customer: str | None
    ) -> tuple[AccountTerms, CustomerTerms | None, bool]:
        """The account's and the customer's documents, and whether the latter was asked for."""
        account = await self._terms.find_account(account_id)
        asked = account.has_customer_terms and customer is not None
        own = await self._terms.find_customer(account_id, customer) if asked and customer else None
        return account, own, asked

    async def decide(
        self,
        account_id: str,
        policy: Policy,
        own: CustomerTerms | None,
        customer: str | None,
        feature: str | None,
        now_ms: int,
    ) -> Entitlement:
        """Whether the customer may use the feature now, by the copies given. Accounts without a policy need
        not ask. Raises LedgerUnavailable, Unavailable."""
        at, plan = await self.placed(account_id, policy, own, customer, now_ms)
        return entitle(policy, at, plan, feature)

    async def placed(
        self,
        account_id: str,
        policy: Policy,
        own: CustomerTerms | None,
        customer: str | None,
        now_ms: int,
    ) -> tuple[Place, PlanVersion | None]:
        """On which plan the customer is now, and that plan's version. Raises as `decide`."""
        at = place(policy, own, customer, now_ms)
        if at.plan is None:
            return at, None
        plan = self._plans.get((account_id, at.plan, at.version))
        return at, plan or await self._fetch(account_id, at.plan, at.version)

    async def in_force(self, key: KeyRecord, customer: str | None) -> bool:
        """Whether the copies that this worker has of the caller's documents are those in force.

        Raises Unavailable where that cannot be known, BadKey for a key that was revoked.
        """
        names = names_of(key.account_id)
        try:
            account, own, asked = await self.terms(key.account_id, customer)
            wanted: list[Awaitable[Any]] = [
                self._command("HMGET", names.key + key.id, "st", "ver"),
                self._command("HGET", names.meta, f"ver:{key.account_id}"),
            ]
            if asked:
                wanted.append(self._command("HGET", f"{names.customer}{key.account_id}:{customer}", "ver"))
            (status, key_version), *versions = await asyncio.gather(*wanted)
        except LedgerUnavailable:
            raise Unavailable(LEDGER_AWAY) from None
        if status is not None and status != b"active":
            raise BadKey("This API key is revoked.")
        copies = [key.version, account.version]
        if asked:
            copies.append(own.version if own is not None else 0)
        found = [int(version or 0) for version in (key_version, *versions)]
        return all(copy >= version for copy, version in zip(copies, found, strict=True))

    async def usages(self, limits: Sequence[LimitTerms], of: Attribution, now_ms: int) -> list[LimitUsage]:
        """Every one of these limits that counts a request of this attribution, with what is used of it.
        Raises LedgerUnavailable."""
        rows = rows_of(limits, of, now_ms)
        names = names_of(of.account_id)
        if not rows:
            return []
        values, *contents = await asyncio.gather(
            self._command("HMGET", names.limits, *(row.value_field for row in rows)),
            *(self._command("HGET", row.hash, row.field) for row in rows),
        )
        found = []
        for row, value, content in zip(rows, values, contents, strict=True):
            key = scope_key(row.limit.scope, of) or ""
            in_force = None if value is None else int(value)
            found.append(usage_of(row, key, in_force, content, now_ms * 1_000))
        return found

    async def _fetch(self, account_id: str, plan: str, version: int) -> PlanVersion:
        name = f"{names_of(account_id).base}plan:{account_id}:{plan}@{version}"
        document = await self._command("GET", name)
        if document is None:  # a ledger that lost it is about to be filled again
            raise Unavailable("The ledger does not know this customer's plan yet; try again.")
        found = PlanVersion.from_document(document)
        self._plans[account_id, plan, version] = found
        if len(self._plans) > PLANS_MAX:
            del self._plans[next(iter(self._plans))]
        return found


def refusal_of(denied: Entitlement, customer: str | None, feature: str | None) -> NotEntitled:
    """The error to answer a refusal with."""
    param = "Observe-Customer" if denied.reason in _OF_CUSTOMER else "Observe-Feature"
    return NotEntitled(told(denied, customer, feature), param=param)
