"""Limits: what may be spent and counted, on whom, and how much of it is used.

GET    /api/limits            a page of them, with what is used
POST   /api/limits            set one; one limit of a kind and window for each subject
GET    /api/limits/{limit}    one; where it is on each of something, with those who have the least left
PATCH  /api/limits/{limit}    change what is told of it
DELETE /api/limits/{limit}    take it away

A changed value holds for the next request everywhere. A key cannot change what limits itself.
"""

from __future__ import annotations

from accounts.key import KeyLimit
from accounts.pages import find_key, find_limit, limit_page
from accounts.scope import ADMIN
from budgets.limit import EACH, PART_SEPARATOR, names_one, windows_for
from budgets.usage import LimitUsage, read_each, read_usage
from gateway.api.amounts import read_amount
from gateway.api.endpoint import Answer, Call, Endpoint
from gateway.api.fields import Told
from gateway.api.limitmodels import LimitAsked, LimitChange, LimitsAsked, NewLimitAsked
from gateway.api.limitview import LimitDetail, LimitTold, limit_detail, limit_told
from gateway.api.refusing import page_of, place_of, refusals
from gateway.errors import BadRequest, Forbidden, NotFound
from metering.ids import is_below

TAG = "limits"
READ, WRITE = "billing.read", "billing.write"

_PARTS: dict[str, tuple[str, ...]] = {
    "account": (),
    "key": ("key_id",),
    "customer": ("customer_id",),
    "workspace": ("customer_id", "workspace"),
    "feature": ("feature_key",),
    "customer_feature": ("customer_id", "feature_key"),
    "plan": ("plan",),
    "trace": ("trace_id",),
    "route": ("route",),
}
_NAMES = tuple(dict.fromkeys(name for names in _PARTS.values() for name in names))


class LimitsTold(Told):
    """A page of limits, the oldest first."""

    limits: list[LimitTold]
    next_cursor: str | None


class LimitSet(LimitTold):
    """A limit as it is now. `restarted`: its windows begin at other moments now, so it counts anew."""

    restarted: bool


class LimitGone(Told):
    """It is no limit any more."""

    success: bool
    id: str


def list_limits(call: Call) -> LimitsTold:
    """A page of limits with what is used of each."""
    asked: LimitsAsked = call.query
    scope: str | None = asked.scope
    scope_ids: list[str] | None = None
    for name, of in (("key_id", "key"), ("feature_key", "feature"), ("plan", "plan")):
        given = getattr(asked, name)
        if given is not None:
            if scope not in (None, of):
                raise BadRequest(f"{name} goes with the scope {of}, not with {scope}.", param=name)
            scope, scope_ids = of, [given]
    listed = ("limits", call.account_id, scope, asked.kind, asked.customer_id, *(scope_ids or ()))
    with call.parts.engine.connect() as connection:
        found = limit_page(
            connection,
            call.account_id,
            limit=asked.limit + 1,
            after=place_of(listed, asked.cursor),
            scope=scope,
            scope_ids=scope_ids,
            customer=asked.customer_id,
            kind=asked.kind,
        )
    rows, following = page_of(listed, found, asked.limit, lambda each: (each.created_ms, each.id))
    usages = _usages(call, rows)
    return LimitsTold(limits=[limit_told(each, usages.get(each.id)) for each in rows], next_cursor=following)


def show_limit(call: Call) -> LimitDetail:
    """One limit."""
    limit = _find(call)
    if names_one(limit):
        return limit_detail(limit, _usages(call, [limit])[limit.id], None)
    each = read_each(call.parts.redis, call.account_id, limit, rows_max=call.query.rows)
    return limit_detail(limit, None, each)


def set_limit(call: Call) -> Answer:
    """Set a limit; 201 for a new one."""
    asked: NewLimitAsked = call.body
    scope_id = _scope_id(call, asked)
    _may_change(call, asked.scope, scope_id)
    if asked.scope == "key" and scope_id != EACH:
        with call.parts.engine.connect() as connection:
            if find_key(connection, call.account_id, scope_id) is None:
                raise NotFound("No such key.", param="key_id")
    with refusals():
        window = asked.window or _only_window(asked.scope, asked.kind)
        value = read_amount(asked.kind, asked.value, asked.value_nano, "value")
        change = call.parts.limits.set(
            asked.scope,
            scope_id,
            asked.kind,
            window,
            value,
            account_id=call.account_id,
            enforcement=asked.enforcement,
            time_zone=asked.time_zone,
            anchor=asked.anchor,
            thresholds=asked.thresholds,
        )
    return Answer(_set(call, change.limit, change.restarted), status=201 if change.before is None else 200)


def change_limit(call: Call) -> LimitSet:
    """Change a limit's value, enforcement, windows or thresholds."""
    asked: LimitChange = call.body
    limit = _find(call)
    _may_change(call, limit.scope, limit.scope_id)
    if not asked.model_fields_set:
        raise BadRequest("Nothing to change was told.")
    with refusals():
        value = limit.value
        if asked.value is not None or asked.value_nano is not None:
            value = read_amount(limit.kind, asked.value, asked.value_nano, "value")
        change = call.parts.limits.set(
            limit.scope,
            limit.scope_id,
            limit.kind,
            limit.window,
            value,
            account_id=call.account_id,
            enforcement=asked.enforcement,
            time_zone=asked.time_zone,
            anchor=asked.anchor,
            thresholds=asked.thresholds,
        )
    return _set(call, change.limit, change.restarted)


def clear_limit(call: Call) -> LimitGone:
    """Take a limit away. What runs still settles on its counters."""
    limit = _find(call)
    _may_change(call, limit.scope, limit.scope_id)
    with refusals():
        call.parts.limits.clear(
            limit.scope, limit.scope_id, limit.kind, limit.window, account_id=call.account_id
        )
    return LimitGone(success=True, id=limit.id)


def _find(call: Call) -> KeyLimit:
    with call.parts.engine.connect() as connection:
        limit = find_limit(connection, call.account_id, call.path["limit"])
    if limit is None:
        raise NotFound("No such limit.")
    return limit


def _set(call: Call, limit: KeyLimit, restarted: bool) -> LimitSet:
    told = limit_told(limit, _usages(call, [limit]).get(limit.id))
    return LimitSet(**told.model_dump(), restarted=restarted)


def _usages(call: Call, limits: list[KeyLimit]) -> dict[str, LimitUsage]:
    """What is used of each limit that is on one thing."""
    single = [limit for limit in limits if names_one(limit)]
    usages = read_usage(call.parts.redis, call.account_id, single)
    return {limit.id: usage for limit, usage in zip(single, usages, strict=True)}


def _scope_id(call: Call, asked: NewLimitAsked) -> str:
    """What the limit is on, as limits have it. BadRequest names what is missing or too much."""
    wanted = _PARTS[asked.scope]
    given = {name: getattr(asked, name) for name in _NAMES}
    for name in _NAMES:
        if name in wanted and given[name] is None:
            raise BadRequest(f"{name}: a limit on {asked.scope} needs it; * is each.", param=name)
        if name not in wanted and given[name] is not None:
            raise BadRequest(f"{name} does not go with the scope {asked.scope}.", param=name)
    if not wanted:
        return call.account_id
    parts = [str(given[name]) for name in wanted]
    return EACH if set(parts) == {EACH} else PART_SEPARATOR.join(parts)


def _only_window(scope: str, kind: str) -> str:
    fitting = windows_for(scope, kind)
    if len(fitting) > 1:
        raise ValueError(f"window: a limit of {kind} on {scope} needs one of {', '.join(fitting)}")
    return fitting[0]


def _may_change(call: Call, scope: str, scope_id: str) -> None:
    """Who is limited must not be able to lift it: not on itself, nor on a key that it is a child of."""
    own = call.key.id
    limits_it = scope == "key" and (scope_id in (own, EACH) or is_below(own, scope_id))
    if limits_it and ADMIN not in call.key.scopes:
        raise Forbidden("A key cannot change what limits itself.", code="own_limit")


LIMITS = (
    Endpoint(
        method="GET",
        path="/api/limits",
        scope=READ,
        summary="Limits with what is used of them",
        tag=TAG,
        handler=list_limits,
        query=LimitsAsked,
        answer=LimitsTold,
    ),
    Endpoint(
        method="POST",
        path="/api/limits",
        scope=WRITE,
        summary="Set a limit",
        description="A subject has one limit of a kind and window: setting it again changes it, with 200.",
        tag=TAG,
        handler=set_limit,
        body=NewLimitAsked,
        answer=LimitSet,
        status=201,
        more={200: LimitSet},
        refusals={404: "The limit is on a key that there is not"},
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/limits/{limit}",
        scope=READ,
        summary="One limit; where it is on each of something, with those who have the least left",
        tag=TAG,
        handler=show_limit,
        query=LimitAsked,
        answer=LimitDetail,
    ),
    Endpoint(
        method="PATCH",
        path="/api/limits/{limit}",
        scope=WRITE,
        summary="Change a limit; holds for the next request",
        tag=TAG,
        handler=change_limit,
        body=LimitChange,
        answer=LimitSet,
        writes=True,
    ),
    Endpoint(
        method="DELETE",
        path="/api/limits/{limit}",
        scope=WRITE,
        summary="Take a limit away",
        tag=TAG,
        handler=clear_limit,
        answer=LimitGone,
        writes=True,
    ),
)
