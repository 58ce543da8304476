"""On which plan customers were when reported events happened: read from the record, as it is decided for
requests (accounts.entitlement)."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from accounts.entitlement import place
from accounts.plan import PlanLimit, PlanVersion
from accounts.plantables import PlanNotFound, find_plan, policy_of, registered_of, subscriptions_of
from accounts.terms import CustomerTerms
from metering.event import CostEvent

VERSIONS_MAX = 10_000


class Placing:
    """Writes the plan's label on events, and knows the limits of the plans that it met.

    Versions of plans never change, so they are kept.
    """

    def __init__(self) -> None:
        self._versions: dict[tuple[str, str, int], PlanVersion] = {}

    def place_events(
        self, connection: Connection, account_id: str, events: Iterable[CostEvent]
    ) -> dict[str, tuple[PlanLimit, ...]]:
        """Put each event's plan on it; gives the plan's limits, with the customer's own values, by event id.

        A customer whom the policy would refuse now was served all the same: its event has no plan.
        """
        policy = policy_of(connection, account_id)
        if policy is None:
            return {}
        placed = list(events)
        customers = sorted({event.customer for event in placed if event.customer is not None})
        spans = subscriptions_of(connection, account_id, customers)
        registered = registered_of(connection, account_id, customers)
        limits: dict[str, tuple[PlanLimit, ...]] = {}
        for event in placed:
            name = event.customer or ""
            own = CustomerTerms(0, (), name in registered, tuple(spans.get(name, ())))
            at = place(policy, own, event.customer, event.started_ms)
            if at.plan is None:
                continue
            terms = self._terms(connection, account_id, at.plan, at.version)
            if terms is not None:
                found = terms.terms() if at.subscription is None else at.subscription.terms(terms)
                event.plan, limits[event.id] = found.label, found.limits
        return limits

    def _terms(self, connection: Connection, account_id: str, plan: str, version: int) -> PlanVersion | None:
        name = (account_id, plan, version)
        found = self._versions.get(name)
        if found is None:
            try:
                found = find_plan(connection, account_id, plan, version)
            except PlanNotFound:
                return None
            if len(self._versions) >= VERSIONS_MAX:
                self._versions.clear()
            self._versions[name] = found
        return found
