"""Customers: who they are, what plan they are on, and what they cost and earn.

GET   /api/customers                      a page of them: recorded ones, and those that requests have named
POST  /api/customers                      record one
GET   /api/customers/{customer}           one
PATCH /api/customers/{customer}           what is known of it; archive it, or take it back
PATCH /api/customers/{customer}/internal  whether it is the operator's own use
"""

from __future__ import annotations

from typing import Any

from accounts.profile import Profile
from accounts.profilebook import archived_among, recorded_names
from gateway.api.customermodels import COUNTED_MAX, CustomerChange, CustomersAsked, InternalAsked, NewCustomer
from gateway.api.customerrecord import alter, record
from gateway.api.customerview import CustomerTold, customer_shown, customers_told
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import Told
from gateway.api.groupfigures import FiguresAsked, figures_span, named_in_events
from gateway.api.refusing import name_after, page_of
from gateway.errors import BadRequest

TAG = "customers"
READ, WRITE = "customers.read", "customers.write"


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
    span = figures_span(asked.date_from, asked.date_to)
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
        data=customers_told(call, rows, span),
        total=len(known) if counted else None,
        total_reason=None if counted else f"more than {COUNTED_MAX}, which are not counted",
        limit=asked.limit,
        offset=asked.offset,
        next_cursor=following,
    )


def show_customer(call: Call) -> CustomerTold:
    """One customer."""
    asked: FiguresAsked = call.query
    return customer_shown(call, call.path["customer"], figures_span(asked.date_from, asked.date_to))


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
    return customer_shown(call, asked.customer_id, figures_span(None, None))


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
    return customer_shown(call, call.path["customer"], figures_span(None, None))


def change_internal(call: Call) -> CustomerTold:
    """Whether a customer is the operator's own use."""
    asked: InternalAsked = call.body
    alter(call, call.path["customer"], None, {"internal": asked.is_internal})
    return customer_shown(call, call.path["customer"], figures_span(None, None))


def _names(call: Call, archived: bool, after: str, limit: int) -> list[str]:
    """Names of customers, recorded or seen in requests, in order."""
    with call.parts.engine.connect() as connection:
        mine = recorded_names(connection, call.account_id, after=after, limit=limit, archived=archived)
        if archived:
            return mine
        seen = named_in_events(connection, call.account_id, "customer", after, limit)
        left_out = archived_among(connection, call.account_id, seen)
    return sorted({*mine, *(name for name in seen if name not in left_out)})[:limit]


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
        query=FiguresAsked,
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
