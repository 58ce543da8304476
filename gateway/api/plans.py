"""Plans: what customers may use, how much of it, and what it costs them.

GET  /api/plans                              a page of them, each in its latest version
POST /api/plans                              a plan, or a new version of one
GET  /api/plans/{plan}                       its latest version
GET  /api/plans/{plan}/versions              all of its versions
GET  /api/plans/{plan}/versions/{version}    one of them
POST /api/plans/{plan}/archive               let it take no new customers, or some again
GET  /api/v1/client/plans                    the same for applications, without those that are archived

A version never changes, and customers stay on theirs until they are put on another one.
"""

from __future__ import annotations

from pydantic import ConfigDict

from accounts.plan import PlanVersion
from accounts.plantables import PlanNotFound
from gateway.api.clientplans import ClientPlans, client_plan
from gateway.api.endpoint import Answer, Call, Endpoint
from gateway.api.fields import Asked, Paged, Told
from gateway.api.planmodels import NewPlan, plan_asked
from gateway.api.planview import PlanTold, plan_told
from gateway.api.refusing import name_after, page_of, refusals
from gateway.errors import NotFound

TAG = "plans"
READ, WRITE = "billing.read", "billing.write"
VERSION_DIGITS = 9


class PlansAsked(Paged):
    """By key."""

    archived: bool | None = None


class ArchiveAsked(Asked):
    """Whether it takes new customers; who is on it stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"archived": True}]})

    archived: bool = True


class PlansTold(Told):
    """A page of plans, by key."""

    plans: list[PlanTold]
    total: int
    next_cursor: str | None


class VersionsTold(Told):
    """A page of a plan's versions, the first one first."""

    versions: list[PlanTold]
    total: int
    next_cursor: str | None


def list_plans(call: Call) -> PlansTold:
    """A page of plans in their latest versions."""
    asked: PlansAsked = call.query
    listed = ("plans", call.account_id, asked.archived)
    plans, following, total = _page(call, listed, asked, asked.archived)
    counts = call.parts.customers(call.account_id).subscribers()
    return PlansTold(
        plans=[
            plan_told(plan, archived=archived, customers=counts.get((plan.plan, plan.version), 0))
            for plan, archived in plans
        ],
        total=total,
        next_cursor=following,
    )


def list_client_plans(call: Call) -> ClientPlans:
    """What customers may be put on."""
    listed = ("client plans", call.account_id)
    plans, following, total = _page(call, listed, call.query, False)
    return ClientPlans(items=[client_plan(plan) for plan, _ in plans], total=total, next_cursor=following)


def put_plan(call: Call) -> Answer:
    """A plan, or another version of one; 200 where its latest version is so already."""
    asked: NewPlan = call.body
    book = call.parts.plans(call.account_id)
    with refusals():
        latest, new = book.put_plan(plan_asked(asked))
    return Answer(_told(call, latest), status=201 if new else 200)


def show_plan(call: Call) -> PlanTold:
    """A plan's latest version."""
    return _told(call, _version(call, None))


def show_version(call: Call) -> PlanTold:
    """One version of a plan."""
    text = call.path["version"]
    if not (text.isascii() and text.isdigit() and len(text) <= VERSION_DIGITS):
        raise NotFound("No such version.")
    return _told(call, _version(call, int(text)))


def list_versions(call: Call) -> VersionsTold:
    """A page of a plan's versions."""
    asked: Paged = call.query
    latest = _version(call, None)
    listed = ("versions", call.account_id, latest.plan)
    after = name_after(listed, asked.cursor)
    first = int(after) + 1 if after else 1
    book = call.parts.plans(call.account_id)
    numbers = range(first, min(first + asked.limit, latest.version) + 1)
    found = [book.plan(latest.plan, number) for number in numbers]
    rows, following = page_of(listed, found, asked.limit, lambda each: (str(each.version),))
    return VersionsTold(
        versions=[_told(call, each) for each in rows], total=latest.version, next_cursor=following
    )


def archive_plan(call: Call) -> PlanTold:
    """Let a plan take no new customers, or some again."""
    plan = _version(call, None)
    with refusals():
        call.parts.plans(call.account_id).archive(plan.plan, archived=call.body.archived)
    return _told(call, plan)


def _page(
    call: Call, listed: tuple[str | bool | None, ...], asked: Paged, archived: bool | None
) -> tuple[list[tuple[PlanVersion, bool]], str | None, int]:
    after = name_after(listed, asked.cursor)
    known = [
        each for each in call.parts.plans(call.account_id).plans() if archived is None or each[1] is archived
    ]
    found = [each for each in known if each[0].plan > after]
    rows, following = page_of(listed, found, asked.limit, lambda each: (each[0].plan,))
    return rows, following, len(known)


def _version(call: Call, version: int | None) -> PlanVersion:
    try:
        return call.parts.plans(call.account_id).plan(call.path["plan"], version)
    except PlanNotFound:
        raise NotFound("No such plan." if version is None else "No such version.") from None


def _told(call: Call, plan: PlanVersion) -> PlanTold:
    account = call.account_id
    archived = {each.plan: is_so for each, is_so in call.parts.plans(account).plans()}
    counts = call.parts.customers(account).subscribers()
    return plan_told(plan, archived=archived[plan.plan], customers=counts.get((plan.plan, plan.version), 0))


PLANS = (
    Endpoint(
        method="GET",
        path="/api/plans",
        scope=READ,
        summary="Plans in their latest versions",
        tag=TAG,
        handler=list_plans,
        query=PlansAsked,
        answer=PlansTold,
    ),
    Endpoint(
        method="POST",
        path="/api/plans",
        scope=WRITE,
        summary="A plan, or a new version of one, with its limits and prices",
        description="What differs from the latest version becomes a new one, 201; else nothing changes, 200.",
        tag=TAG,
        handler=put_plan,
        body=NewPlan,
        answer=PlanTold,
        status=201,
        more={200: PlanTold},
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/plans/{plan}",
        scope=READ,
        summary="A plan's latest version",
        tag=TAG,
        handler=show_plan,
        answer=PlanTold,
    ),
    Endpoint(
        method="GET",
        path="/api/plans/{plan}/versions",
        scope=READ,
        summary="All versions of a plan",
        tag=TAG,
        handler=list_versions,
        query=Paged,
        answer=VersionsTold,
    ),
    Endpoint(
        method="GET",
        path="/api/plans/{plan}/versions/{version}",
        scope=READ,
        summary="One version of a plan",
        tag=TAG,
        handler=show_version,
        answer=PlanTold,
    ),
    Endpoint(
        method="POST",
        path="/api/plans/{plan}/archive",
        scope=WRITE,
        summary="Let a plan take no new customers, or some again",
        tag=TAG,
        handler=archive_plan,
        body=ArchiveAsked,
        answer=PlanTold,
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/v1/client/plans",
        scope=READ,
        summary="Plans that customers may be put on",
        tag=TAG,
        handler=list_client_plans,
        query=Paged,
        answer=ClientPlans,
        bound="open",
    ),
)
