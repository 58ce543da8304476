"""What is known of a customer beside its name and its plans, and the workspaces inside of it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

INTERNAL = "_internal"
"""Customers whose names begin so are the operator itself, whatever else is said of them."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Empty where nothing is known. `internal`: it is the operator's own use. `archived_ms`: since when lists
    leave it out; its requests are served and counted as before."""

    email: str = ""
    first_name: str = ""
    last_name: str = ""
    phone: str = ""
    address: str = ""
    stripe_id: str = ""
    internal: bool = False
    archived_ms: int | None = None


UNKNOWN = Profile()


@dataclass(frozen=True, slots=True)
class Workspace:
    """A space inside a customer, by the name that requests give."""

    customer: str
    workspace: str
    name: str
    created_ms: int
    archived_ms: int | None = None


def is_internal(customer: str, profile: Profile) -> bool:
    """Whether the customer is the operator itself."""
    return profile.internal or customer.startswith(INTERNAL)
