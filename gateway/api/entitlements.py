"""Entitlements as applications ask for them before they offer a feature: decided as `open` would decide, from
the same copies and counters, but nothing is reserved.

    POST /api/v1/client/entitlements/check                  one customer and feature
    POST /api/v1/client/entitlements                        the same, and what more use would do
    GET  /api/v1/client/entitlements/{customer}/{feature}   the same; 204 for a customer nobody has recorded
    GET  /api/v1/client/entitlements/{customer}             all features of its plan
    GET  /api/plan                                          a customer's plan with all its features
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, TypeVar

from pydantic import BaseModel
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from accounts.entitlement import FREE, Entitlement, told
from accounts.key import KeyRecord
from accounts.naming import NAME, NAME_EXPECTED
from accounts.terms import AccountTerms, CustomerTerms
from budgets.ledger import LedgerUnavailable, Versions
from budgets.limit import Attribution, LimitTerms
from budgets.limitusage import LimitUsage
from budgets.rowset import build_row_set
from gateway.admission import attribute
from gateway.api.answers import encoded
from gateway.api.endpoint import BODY_BYTES_MAX
from gateway.api.entitlementmodels import (
    CheckAsked,
    Checked,
    EntitlementsAsked,
    EvaluationAsked,
    FeatureDecision,
    PlanAnswer,
    PlanSubscription,
)
from gateway.api.evaluations import counts_units, entitlement_list, evaluation, simulation
from gateway.api.reading import read_body, read_query
from gateway.errors import LEDGER_AWAY, BadRequest, TooLarge, Unavailable
from gateway.parts import Parts
from gateway.usability import figures, judge, limit_document, moment_text, tightest
from metering.ids import new_id

Body = TypeVar("Body", bound=BaseModel)
_SCOPES = frozenset(("account", "customer", "feature", "customer_feature", "plan"))
"""Limits on these count every request of a customer for a feature; those on keys, traces and routes count
what only a request has."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has in force of one customer: the account's and the customer's documents."""

    account_id: str
    account: AccountTerms
    own: CustomerTerms | None
    versions: Versions
    now_ms: int


class EntitlementEndpoints:
    """The endpoints, over a worker's parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def check(self, request: HttpRequest, key: KeyRecord) -> Response:
        """One customer and feature: allowed, and why."""
        asked = await _body(request, CheckAsked)
        customer, feature = asked.customer_reference_id, asked.feature_key
        self._may_speak_for(key, request, customer, feature)
        known = await self._known(key, customer)
        found = await self._look(known, customer, feature, asked.wishes)
        told = Checked(**found, customerReferenceId=customer, featureKey=feature)
        return _answer({"success": True, "allowed": told.allowed, "data": told.model_dump(by_alias=True)})

    async def evaluate(self, request: HttpRequest, key: KeyRecord) -> Response:
        """The same, and what more use would do. Nothing is used."""
        asked = await _body(request, EvaluationAsked)
        customer, feature, units = asked.customer_reference_id, asked.feature_key, asked.units
        flow_id = None if asked.context is None else asked.context.flow_id
        self._may_speak_for(key, request, customer, feature)
        known = await self._known(key, customer)
        found = await self._look(known, customer, feature, {})
        if units is None:
            return _told(evaluation(customer, feature, found, flow_id=flow_id))
        simulated = simulation(found, units)
        if units and counts_units(found):
            found = await self._look(known, customer, feature, {found["unit"]: units})
        told = evaluation(customer, feature, found, flow_id=flow_id)
        return _told(told.model_copy(update={"simulation": simulated}))

    async def show(self, request: HttpRequest, key: KeyRecord) -> Response:
        """One customer and feature; 204 where nobody has recorded the customer."""
        read_query(None, request.scope["query_string"])
        customer, feature = _name(request, "customer"), _name(request, "feature")
        self._may_speak_for(key, request, customer, feature)
        known = await self._known(key, customer)
        if not _recorded(known):
            return _nothing()
        found = await self._look(known, customer, feature, {})
        return _told(evaluation(customer, feature, found))

    async def features(self, request: HttpRequest, key: KeyRecord) -> Response:
        """All features of the customer's plan; 204 where nobody has recorded the customer."""
        page = read_query(EntitlementsAsked, request.scope["query_string"])
        assert page is not None, "there is a model"
        customer = _name(request, "customer")
        self._may_speak_for(key, request, customer, key.feature)
        known = await self._known(key, customer)
        if not _recorded(known):
            return _nothing()
        at, version = await self._plan_of(known, customer)
        names: Sequence[str] = version.features if version is not None else ()
        subscription = at.subscription if at is not None else None
        if subscription is not None:
            names = tuple(dict.fromkeys((*names, *subscription.overrides.features)))
        told = [
            (name, (await self._look(known, customer, name, {}))["allowed"])
            for name in names
            if key.feature in (None, name)
        ]
        subscription_id = None if subscription is None else subscription.id
        return _told(entitlement_list(subscription_id, told, page.limit, page.offset))

    async def plan(self, request: HttpRequest, key: KeyRecord) -> Response:
        """The plan of the key's customer, or of the one that `Observe-Customer` names."""
        read_query(None, request.scope["query_string"])
        headers = self._parts.headers.read(request.headers.raw)
        customer = attribute(key, headers, self._parts.headers, {}).customer
        if customer is None:
            raise BadRequest(
                "Whose plan? This key is bound to no customer; send Observe-Customer.",
                param="Observe-Customer",
                code="missing_required_header",
            )
        known = await self._known(key, customer)
        at, version = await self._plan_of(known, customer)
        subscription = at.subscription if at is not None else None
        features = version.features if version is not None else ()
        if subscription is not None:
            features = tuple(dict.fromkeys((*features, *subscription.overrides.features)))
        together = await self._look(known, customer, None, {})
        told = PlanAnswer(
            customer=customer,
            plan=None if version is None else version.plan,
            plan_version=None if version is None else version.version,
            name=None if version is None else version.name,
            reason=together["reason"] if at is None or not at.granted else at.reason,
            subscription=None
            if subscription is None
            else PlanSubscription(
                id=subscription.id,
                starts_at=moment_text(subscription.starts_ms),
                ends_at=None if subscription.ends_ms is None else moment_text(subscription.ends_ms),
            ),
            other_features=None if version is None else "allow" if version.others else "deny",
            limits=together["limits"],
            features=[
                FeatureDecision(feature_key=feature, **await self._look(known, customer, feature, {}))
                for feature in features
            ],
        )
        return _answer(told.model_dump())

    def _may_speak_for(
        self, key: KeyRecord, request: HttpRequest, customer: str, feature: str | None
    ) -> None:
        """Forbidden where a request with this key could not name them: customers are not to be tried out."""
        headers = self._parts.headers.read(request.headers.raw)
        headers.customer, headers.feature = customer, feature
        attribute(key, headers, self._parts.headers, {})

    async def _known(self, key: KeyRecord, customer: str) -> Known:
        entitlements, account_id = self._parts.entitlements, key.account_id
        try:
            if not await entitlements.in_force(key, customer):
                self._parts.terms.invalidate(account_id, customer)
            account, own, asked = await entitlements.terms(account_id, customer)
        except LedgerUnavailable:
            raise Unavailable(LEDGER_AWAY) from None
        versions = Versions(key.version, account.version, (own.version if own else 0) if asked else None)
        return Known(account_id, account, own, versions, int(time() * 1_000))

    async def _plan_of(self, known: Known, customer: str) -> Any:
        if known.account.policy is None:
            return None, None
        try:
            return await self._parts.entitlements.placed(
                known.account_id, known.account.policy, known.own, customer, known.now_ms
            )
        except LedgerUnavailable:
            raise Unavailable(LEDGER_AWAY) from None

    async def _look(
        self, known: Known, customer: str, feature: str | None, requested: Mapping[str, int]
    ) -> dict[str, Any]:
        """The decision and the figures of one feature."""
        granted, policy = FREE, known.account.policy
        try:
            if policy is not None:
                granted = await self._parts.entitlements.decide(
                    known.account_id, policy, known.own, customer, feature, known.now_ms
                )
            usages = await self._usages(known, granted, customer, feature)
        except LedgerUnavailable:
            raise Unavailable(LEDGER_AWAY) from None
        verdict = judge(usages, requested)
        allowed = granted.granted and verdict.allowed
        return {
            "allowed": allowed,
            "reason": granted.reason if verdict.allowed or not granted.granted else verdict.reason,
            "message": None if granted.granted else told(granted, customer, feature),
            "plan": granted.label or granted.plan,
            **figures(verdict.usage or tightest(usages)),
            "limits": [limit_document(usage) for usage in usages],
        }

    async def _usages(
        self, known: Known, granted: Entitlement, customer: str, feature: str | None
    ) -> list[LimitUsage]:
        if not granted.granted:
            return []
        own = known.own.limits if known.own is not None else ()
        lists: Sequence[LimitTerms] = (*known.account.limits, *own, *granted.limits)
        limits = [limit for limit in lists if limit.scope in _SCOPES]
        of = Attribution(
            known.account_id, "", customer, None, feature, granted.plan, None, None, granted.label
        )
        entitlements = self._parts.entitlements
        usages = await entitlements.usages(limits, of, known.now_ms)
        if not all(usage.published for usage in usages):
            accruing = [limit for limit in granted.limits if limit.carry is not None]
            rows = build_row_set(accruing, of, known.now_ms)
            await self._parts.ledger.accrue(of, known.versions, rows)
            usages = await entitlements.usages(limits, of, known.now_ms)
            if not all(usage.published for usage in usages):
                raise Unavailable("The ledger does not know every limit of this customer yet; try again.")
        return usages


def _recorded(known: Known) -> bool:
    """Whether somebody has recorded the customer."""
    return known.own is not None and known.own.registered


async def _body(request: HttpRequest, model: type[Body]) -> Body:
    """The body as its model. BadRequest names what is wrong with it."""
    read_query(None, request.scope["query_string"])
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise BadRequest("Send the body without Content-Encoding.", param="Content-Encoding")
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise TooLarge(f"The body is larger than the {BODY_BYTES_MAX} bytes that are read here.")
        parts.append(part)
    found = read_body(model, b"".join(parts))
    assert found is not None, "there is a model"
    return found


def _name(request: HttpRequest, place: str) -> str:
    """The name at a place of the address."""
    value: str = request.path_params[place]
    if not NAME.match(value):
        raise BadRequest(f"{place}: write {NAME_EXPECTED}.", param=place)
    return value


def _nothing() -> Response:
    return Response(status_code=204, headers={"x-request-id": new_id()})


def _told(data: BaseModel) -> Response:
    return _answer({"success": True, "data": data.model_dump(by_alias=True, exclude_unset=True)})


def _answer(document: Any) -> Response:
    headers = {"x-request-id": new_id(), "content-type": "application/json"}
    return Response(encoded(document), 200, headers)
