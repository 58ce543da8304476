"""Deals: special prices of one customer, which hold for a span of time.

GET    /api/deals          a page of them, by their start
POST   /api/deals          let a customer pay otherwise, now or from a later moment on
GET    /api/deals/{deal}   one
DELETE /api/deals/{deal}   end it, or take one back that has not begun

A deal is a part of a subscription, which has one from its start to its end: it has that subscription's id,
and begins and ends with it.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Annotated

from pydantic import Field

from accounts.pages import SubscriptionRow
from accounts.plantables import PlanNotFound
from accounts.subscription import NO_DEAL
from accounts.subscriptionbook import ENDED, status_at
from budgets.window import LAST_MS
from gateway.api.answers import Conflict
from gateway.api.endpoint import Call, Endpoint
from gateway.api.fields import MomentText, Nano, Told, Usd, moment_text
from gateway.api.refusing import refusals
from gateway.api.subscribing import book_of, page_asked
from gateway.api.subscriptionmodels import DealEnd, NewDeal, SubscriptionsAsked, deal_asked
from gateway.api.subscriptionview import deal_told
from gateway.errors import NotFound

TAG = "deals"
READ, WRITE = "billing.read", "billing.write"


class DealTold(Told):
    """What a customer pays otherwise than its plan says."""

    id: str = Field(description="Also the id of the subscription that it is a part of")
    customer_id: str
    plan: str
    version: int
    status: str = Field(description="pending, active or ended")
    starts_at: MomentText
    ends_at: MomentText | None = Field(description="null: as long as the customer is on the plan")
    price: Usd | None = Field(description="Of each period, instead of the plan's; null: the plan's")
    price_nano: Nano | None
    quantity: int
    discount_percent: Annotated[Decimal, Field(json_schema_extra={"type": "number"})]


class DealsTold(Told):
    """A page of deals, by their start."""

    deals: list[DealTold]
    next_cursor: str | None


def list_deals(call: Call) -> DealsTold:
    """A page of the account's deals."""
    now_ms = call.parts.rows.now_ms(call.account_id)
    rows, following = page_asked(call, "deals", now_ms, dealt=True)
    return DealsTold(deals=[_told(row, now_ms) for row in rows], next_cursor=following)


def show_deal(call: Call) -> DealTold:
    """One deal."""
    return _told(_find(call), call.parts.rows.now_ms(call.account_id))


def agree(call: Call) -> DealTold:
    """Let a customer pay otherwise."""
    asked: NewDeal = call.body
    book = call.parts.customers(call.account_id)
    with refusals():
        deal = deal_asked(asked)
        if deal == NO_DEAL:
            raise ValueError("write a price, a quantity or a discount_percent: else it is what the plan says")
        if (asked.starts_at or 0) > LAST_MS:
            raise ValueError("starts_at: no calendar has billing periods so late")
        made = book.agree(asked.customer_id, deal, starts_ms=asked.starts_at, ends_ms=asked.ends_at)
    row = SubscriptionRow(asked.customer_id, made, made.starts_ms)
    return _told(row, call.parts.rows.now_ms(call.account_id))


def end_deal(call: Call) -> DealTold:
    """End a deal, now or later; gives it as it was, with its end."""
    found, now_ms = _find(call), call.parts.rows.now_ms(call.account_id)
    mine, asked = found.subscription, call.query
    if status_at(mine, now_ms) == ENDED:
        raise Conflict("This deal has ended.", code="not_active")
    with refusals():
        ends_ms = book_of(call).end_deal(mine.id, ends_ms=asked.ends_at)
    over = asked.ends_at is None or ends_ms <= mine.starts_ms  # taken back before it began
    told = _told(replace(found, subscription=replace(mine, ends_ms=max(ends_ms, mine.starts_ms))), now_ms)
    return told.model_copy(update={"status": ENDED}) if over else told


def _find(call: Call) -> SubscriptionRow:
    """One of the account's; NotFound for every other, and for a subscription without a deal."""
    try:
        found = book_of(call).find(call.path["deal"])
    except PlanNotFound:
        found = None
    if found is None or found.subscription.deal == NO_DEAL:
        raise NotFound("No such deal.")
    return found


def _told(row: SubscriptionRow, now_ms: int) -> DealTold:
    mine = row.subscription
    return DealTold(
        id=mine.id,
        customer_id=row.customer,
        plan=mine.plan,
        version=mine.version,
        status=status_at(mine, now_ms),
        starts_at=str(moment_text(mine.starts_ms)),
        ends_at=moment_text(mine.ends_ms),
        **deal_told(mine.deal),
    )


DEALS = (
    Endpoint(
        method="GET",
        path="/api/deals",
        scope=READ,
        summary="Special prices of customers, by their start",
        tag=TAG,
        handler=list_deals,
        query=SubscriptionsAsked,
        answer=DealsTold,
    ),
    Endpoint(
        method="POST",
        path="/api/deals",
        scope=WRITE,
        summary="Let a customer pay otherwise than its plan says",
        description="From `starts_at` on, in place of what it paid otherwise then; until then all stays as "
        "it was. It holds for the plan that the customer is on then.",
        tag=TAG,
        handler=agree,
        body=NewDeal,
        answer=DealTold,
        status=201,
        refusals={404: "There is no such customer"},
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/deals/{deal}",
        scope=READ,
        summary="One deal",
        tag=TAG,
        handler=show_deal,
        answer=DealTold,
    ),
    Endpoint(
        method="DELETE",
        path="/api/deals/{deal}",
        scope=WRITE,
        summary="End a deal, now or later, or take one back that has not begun",
        tag=TAG,
        handler=end_deal,
        query=DealEnd,
        answer=DealTold,
        refusals={409: "It has ended"},
        writes=True,
    ),
)
