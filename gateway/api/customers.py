"""Customers: who they are, what plan they are on, and what they cost and earn.

GET   /api/customers                      a page of them: recorded ones, and those that requests have named
POST  /api/customers                      record one
GET   /api/customers/{customer}           one
PATCH /api/customers/{customer}           what is known of it; archive it, or take it back
PATCH /api/customers/{customer}/internal  whether it is the operator's own use
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import ConfigDict, Field, model_validator

from accounts.customer import Customer
from accounts.plantables import PlanNotFound
from accounts.profile import UNKNOWN, Profile, is_internal
from accounts.profilebook import ProfileBook, archived_among, recorded_names
from accounts.publishing import wall_ms
from gateway.api.answers import Conflict
from gateway.api.endpoint import Call, Endpoint
from gateway.api.features import SpanAsked
from gateway.api.fields import Asked, MomentText, Name, Nano, Paged, Told, Usd, moment_text
from gateway.api.figures import Percent
from gateway.api.groupfigures import GroupFigures, figures_of, named_in_events, span_of
from gateway.api.owed import charges_in
from gateway.api.planview import Label
from gateway.api.refusing import name_after, page_of
from gateway.api.spans import Span
from gateway.errors import BadRequest, NotFound

TAG = "customers"
READ, WRITE = "customers.read", "customers.write"
COUNTED_MAX = 10_000
Mail = Annotated[str, Field(max_length=254, pattern=r"^([^@\s\x00-\x1f\x7f]+@[^@\s\x00-\x1f\x7f]+)?$")]


class CustomersAsked(Paged, SpanAsked):
    """A part of the list, by id."""

    offset: Annotated[
        int, Field(ge=0, le=COUNTED_MAX, description="Instead of a cursor, for short lists")
    ] = 0
    archived: bool = False

    @model_validator(mode="after")
    def one_way_to_a_page(self) -> CustomersAsked:
        if self.cursor is not None and self.offset:
            raise ValueError("send a cursor or an offset, not both")
        return self


class NewCustomer(Asked):
    """A customer to be recorded."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"customer_id": "acme", "name": "Acme", "email": "ada@acme.example"}]}
    )

    customer_id: Name
    name: Label = ""
    email: Mail = ""
    first_name: Label = ""
    last_name: Label = ""
    phone: Label = ""
    address: Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$")] = ""
    stripe_customer_id: Label = ""
    is_internal: bool = False


class CustomerChange(Asked):
    """What is not told stays; an empty text takes it away."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Acme Inc.", "archived": False}]})

    name: Label | None = None
    email: Mail | None = None
    first_name: Label | None = None
    last_name: Label | None = None
    phone: Label | None = None
    address: Annotated[str, Field(max_length=500, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$")] | None = None
    stripe_customer_id: Label | None = None
    is_internal: bool | None = None
    archived: Annotated[
        bool | None, Field(description="Lists leave it out; its requests are served and counted as before")
    ] = None


class InternalAsked(Asked):
    """Whether it is the operator's own use."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"is_internal": True}]})

    is_internal: bool


class CustomerTold(Told):
    """A customer, and figures of its requests in a span of time."""

    customer_id: str
    name: str
    email: str
    first_name: str
    last_name: str
    phone: str
    address: str
    stripe_customer_id: str
    is_internal: bool = Field(description="The operator's own use: no revenue; as all named _internal...")
    recorded: bool = Field(description="false: requests name it, and nobody has recorded it")
    created_at: MomentText | None
    archived_at: MomentText | None
    plan: str | None
    plan_version: int | None
    subscription_id: str | None
    date_from: MomentText
    date_to: MomentText
    event_count: int
    feature_count: int
    total_cost: Usd | None
    total_cost_nano: Nano | None
    avg_cost_per_event: Usd | None
    avg_cost_per_event_nano: Nano | None
    unpriced_events: int = Field(description="Of which the cost is not known; total_cost is of the others")
    total_revenue: Usd | None = Field(description="Plans' own prices are earned evenly over their periods")
    total_revenue_nano: Nano | None
    total_usage: int = Field(description="Tokens, in and out")
    margin: Usd | None
    margin_nano: Nano | None
    margin_pct: Percent | None = Field(description="Percent of the revenue; null where that is 0")
    margin_reason: str | None = Field(description="Why the margin is null, or not of all that was used")
    last_seen: MomentText | None


class CustomersTold(Told):
    """A page of customers, by id."""

    data: list[CustomerTold]
    total: int | None
    total_reason: str | None
    limit: int
    offset: int
    next_cursor: str | None


def list_customers(call: Call) -> CustomersTold:
    """A page of customers with what they cost and earn."""
    asked: CustomersAsked = call.query
    span = span_of(asked.date_from, asked.date_to)
    listed = ("customers", call.account_id, asked.archived, asked.date_from, asked.date_to)
    known = _names(call, asked.archived, "", COUNTED_MAX + 1)
    after = name_after(listed, asked.cursor)
    if asked.offset:
        names = known[asked.offset : asked.offset + asked.limit + 1]
    elif after:
        names = _names(call, asked.archived, after, asked.limit + 1)
    else:
        names = known[: asked.limit + 1]
    rows, following = page_of(listed, names, asked.limit, lambda each: (each,))
    counted = len(known) <= COUNTED_MAX
    return CustomersTold(
        data=_told(call, rows, span),
        total=len(known) if counted else None,
        total_reason=None if counted else f"more than {COUNTED_MAX}, which are not counted",
        limit=asked.limit,
        offset=asked.offset,
        next_cursor=following,
    )


def show_customer(call: Call) -> CustomerTold:
    """One customer."""
    asked: SpanAsked = call.query
    return shown(call, call.path["customer"], span_of(asked.date_from, asked.date_to))


def add_customer(call: Call) -> CustomerTold:
    """Record a customer."""
    asked: NewCustomer = call.body
    record(
        call,
        asked.customer_id,
        asked.name,
        Profile(
            email=asked.email,
            first_name=asked.first_name,
            last_name=asked.last_name,
            phone=asked.phone,
            address=asked.address,
            stripe_id=asked.stripe_customer_id,
            internal=asked.is_internal,
        ),
    )
    return shown(call, asked.customer_id, span_of(None, None))


def change_customer(call: Call) -> CustomerTold:
    """What is known of a customer."""
    asked: CustomerChange = call.body
    if not asked.model_fields_set:
        raise BadRequest("Nothing to change was told.")
    changes: dict[str, Any] = {
        "email": asked.email,
        "first_name": asked.first_name,
        "last_name": asked.last_name,
        "phone": asked.phone,
        "address": asked.address,
        "stripe_id": asked.stripe_customer_id,
        "internal": asked.is_internal,
    }
    alter(call, call.path["customer"], asked.name, changes, archived=asked.archived)
    return shown(call, call.path["customer"], span_of(None, None))


def change_internal(call: Call) -> CustomerTold:
    """Whether a customer is the operator's own use."""
    asked: InternalAsked = call.body
    alter(call, call.path["customer"], None, {"internal": asked.is_internal})
    return shown(call, call.path["customer"], span_of(None, None))


def record(call: Call, customer: str, name: str, profile: Profile) -> Customer:
    """Record a new customer; Conflict where somebody did."""
    book = call.parts.customers(call.account_id)
    if recorded(call, customer) is not None:
        raise Conflict("This customer is recorded already; change it.", code="already_exists")
    made = book.add_customer(customer, name)
    profiles(call).put_profile(customer, profile)
    return made


def alter(
    call: Call, customer: str, name: str | None, changes: dict[str, Any], *, archived: bool | None = None
) -> None:
    """Change what is known of a recorded customer; None stays as it is."""
    present = recorded(call, customer)
    if present is None:
        raise NotFound("No such customer.")
    if changes.get("internal") is False and is_internal(customer, UNKNOWN):
        raise BadRequest("A customer of such a name is the operator's own use.", param="is_internal")
    book, profile = profiles(call), profiles(call).profile(customer)
    told = {field: value for field, value in changes.items() if value is not None}
    if archived is not None and archived is not (profile.archived_ms is not None):
        told["archived_ms"] = wall_ms() if archived else None
    if told:
        book.put_profile(customer, replace(profile, **told))
    if name is not None and name != present.name:
        call.parts.customers(call.account_id).add_customer(customer, name)


def recorded(call: Call, customer: str) -> Customer | None:
    """The recorded customer."""
    try:
        return call.parts.customers(call.account_id).customer(customer)
    except PlanNotFound:
        return None


def profiles(call: Call) -> ProfileBook:
    """The account's profiles and workspaces."""
    return ProfileBook(call.parts.engine, call.account_id)


def shown(call: Call, customer: str, span: Span) -> CustomerTold:
    """One customer; NotFound where nobody has recorded it and no request has named it."""
    (found,) = _told(call, [customer], span)
    if not found.recorded and found.last_seen is None:
        raise NotFound("No such customer.")
    return found


def _names(call: Call, archived: bool, after: str, limit: int) -> list[str]:
    """Names of customers, recorded or seen in requests, in order."""
    with call.parts.engine.connect() as connection:
        mine = recorded_names(connection, call.account_id, after=after, limit=limit, archived=archived)
        if archived:
            return mine
        seen = named_in_events(connection, call.account_id, "customer", after, limit)
        left_out = archived_among(connection, call.account_id, seen)
    return sorted({*mine, *(name for name in seen if name not in left_out)})[:limit]


def _told(call: Call, names: list[str], span: Span) -> list[CustomerTold]:
    one = names[0] if len(names) == 1 else None
    charges = charges_in(call, span, one) if names else []
    with call.parts.engine.connect() as connection:
        figures = figures_of(connection, call.account_id, "customer", names, span, charges)
    known = profiles(call).profiles(names)
    return [
        _one(call, name, recorded(call, name), known.get(name, UNKNOWN), figures[name], span)
        for name in names
    ]


def _one(
    call: Call,
    name: str,
    customer: Customer | None,
    profile: Profile,
    figures: GroupFigures,
    span: Span,
) -> CustomerTold:
    now_ms = wall_ms()
    present = None if customer is None else customer.at(now_ms)
    return CustomerTold(
        customer_id=name,
        name="" if customer is None else customer.name,
        email=profile.email,
        first_name=profile.first_name,
        last_name=profile.last_name,
        phone=profile.phone,
        address=profile.address,
        stripe_customer_id=profile.stripe_id,
        is_internal=is_internal(name, profile),
        recorded=customer is not None,
        created_at=None if customer is None else moment_text(customer.created_ms),
        archived_at=moment_text(profile.archived_ms),
        plan=None if present is None else present.plan,
        plan_version=None if present is None else present.version,
        subscription_id=None if present is None else present.id,
        date_from=str(moment_text(span.since_ms)),
        date_to=str(moment_text(span.until_ms)),
        feature_count=figures.others,
        last_seen=moment_text(figures.last_seen_ms),
        **figures.fields(),
    )


CUSTOMERS = (
    Endpoint(
        method="GET",
        path="/api/customers",
        scope=READ,
        summary="Customers with what they cost and earn",
        description="Recorded ones, and those that requests have named.",
        tag=TAG,
        handler=list_customers,
        query=CustomersAsked,
        answer=CustomersTold,
    ),
    Endpoint(
        method="POST",
        path="/api/customers",
        scope=WRITE,
        summary="Record a customer",
        tag=TAG,
        handler=add_customer,
        body=NewCustomer,
        answer=CustomerTold,
        status=201,
        refusals={409: "It is recorded already"},
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/customers/{customer}",
        scope=READ,
        summary="One customer with what it costs and earns",
        tag=TAG,
        handler=show_customer,
        query=SpanAsked,
        answer=CustomerTold,
    ),
    Endpoint(
        method="PATCH",
        path="/api/customers/{customer}",
        scope=WRITE,
        summary="Change what is known of a customer, or archive it",
        tag=TAG,
        handler=change_customer,
        body=CustomerChange,
        answer=CustomerTold,
        writes=True,
    ),
    Endpoint(
        method="PATCH",
        path="/api/customers/{customer}/internal",
        scope=WRITE,
        summary="Whether a customer is the operator's own use",
        tag=TAG,
        handler=change_internal,
        body=InternalAsked,
        answer=CustomerTold,
        writes=True,
    ),
)
