"""What is recorded of customers, whatever path it is asked by: who they are, and what is known of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from accounts.customer import Customer
from accounts.plantables import PlanNotFound
from accounts.profile import UNKNOWN, Profile, is_internal
from accounts.profilebook import ProfileBook
from accounts.publishing import wall_ms
from gateway.api.answers import Conflict
from gateway.api.endpoint import Call
from gateway.errors import BadRequest, NotFound


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
    """Change what is known of a customer; None stays as it is. NotFound where nobody has recorded it."""
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
    """The customer; None where nobody has recorded it."""
    try:
        return call.parts.customers(call.account_id).customer(customer)
    except PlanNotFound:
        return None


def profiles(call: Call) -> ProfileBook:
    """The account's profiles and workspaces."""
    return ProfileBook(call.parts.engine, call.account_id)
