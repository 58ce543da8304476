"""Customers as the API tells them, with what they cost and earn in a span of time."""

from __future__ import annotations

from pydantic import Field

from accounts.customer import Customer
from accounts.profile import UNKNOWN, Profile, is_internal
from accounts.publishing import wall_ms
from gateway.api.charges import charges_in
from gateway.api.customerrecord import profiles, recorded
from gateway.api.endpoint import Call
from gateway.api.fields import MomentText, Nano, Told, Usd, moment_text
from gateway.api.figures import Percent
from gateway.api.groupfigures import GroupFigures, figures_of
from gateway.api.spans import Span
from gateway.errors import NotFound


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


def customer_shown(call: Call, customer: str, span: Span) -> CustomerTold:
    """One customer; NotFound where nobody has recorded it and no request has named it."""
    (found,) = customers_told(call, [customer], span)
    if not found.recorded and found.last_seen is None:
        raise NotFound("No such customer.")
    return found


def customers_told(call: Call, names: list[str], span: Span) -> list[CustomerTold]:
    """These customers, recorded or not, in their order."""
    one = names[0] if len(names) == 1 else None
    earned = Span(span.since_ms, min(span.until_ms, wall_ms()))  # what is to come has not been earned
    charges = charges_in(call, [earned], one)[0] if names and earned.since_ms < earned.until_ms else []
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
