"""The endpoints that workers answer themselves, as the table of all endpoints has them."""

from __future__ import annotations

from gateway.api.endpoint import Endpoint, in_a_worker
from gateway.api.entitlementmodels import (
    CheckAsked,
    Checked,
    EntitlementList,
    EntitlementsAsked,
    Evaluated,
    EvaluationAsked,
    PlanAnswer,
)

TAG = "entitlements"
OF_NOBODY = "204 for a customer that nobody has recorded."

CHECK = Endpoint(
    method="POST",
    path="/api/v1/client/entitlements/check",
    scope="usage.read",
    summary="May a customer use a feature, and why?",
    tag=TAG,
    handler=in_a_worker,
    body=CheckAsked,
    answer=Checked,
    beside=("allowed",),
    bound="own",
    description="Decided as the next request would be, and nothing is reserved.",
)
EVALUATE = Endpoint(
    method="POST",
    path="/api/v1/client/entitlements",
    scope="usage.read",
    summary="The same, and what more use would do",
    tag=TAG,
    handler=in_a_worker,
    body=EvaluationAsked,
    answer=Evaluated,
    bound="own",
    description="Nothing is used by asking.",
)
SHOW = Endpoint(
    method="GET",
    path="/api/v1/client/entitlements/{customer}/{feature}",
    scope="usage.read",
    summary="A customer and a feature",
    tag=TAG,
    handler=in_a_worker,
    answer=Evaluated,
    more={204: None},
    bound="own",
    description=OF_NOBODY,
)
FEATURES = Endpoint(
    method="GET",
    path="/api/v1/client/entitlements/{customer}",
    scope="usage.read",
    summary="All features of a customer's plan",
    tag=TAG,
    handler=in_a_worker,
    query=EntitlementsAsked,
    answer=EntitlementList,
    more={204: None},
    bound="own",
    description=OF_NOBODY,
)
PLAN = Endpoint(
    method="GET",
    path="/api/plan",
    scope="billing.read",
    summary="A customer's plan with all its features, and what is left of their limits",
    tag=TAG,
    handler=in_a_worker,
    answer=PlanAnswer,
    headers={"Observe-Customer": "Whose plan, where the key is bound to no customer"},
    bound="own",
)
ENTITLEMENTS = (CHECK, EVALUATE, SHOW, FEATURES, PLAN)
