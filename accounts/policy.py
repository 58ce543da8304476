"""The policy on customers: what holds for those on no plan, and which features nobody may use. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

UNKNOWN = ("allow", "deny", "default_plan")
UNNAMED = ("allow", "deny")


@dataclass(frozen=True, slots=True)
class Policy:
    """Published in the account's document.

    unknown: what is done with customers that are on no plan. unnamed: with requests that name no customer.
    plan, version: the default plan. disabled: features that nobody may use.
    """

    unknown: str = "allow"
    unnamed: str = "allow"
    plan: str | None = None
    version: int = 0
    disabled: tuple[str, ...] = ()

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Policy:
        """The policy in a part of a document. KeyError, TypeError: none is."""
        values = {slot: fields[slot] for slot in cls.__slots__}
        values["disabled"] = tuple(values["disabled"])
        return cls(**values)


def check_policy(policy: Policy) -> None:
    """Raise ValueError, naming what is wrong."""
    if policy.unknown not in UNKNOWN:
        raise ValueError(f"unknown customers: {policy.unknown!r}; write {', '.join(UNKNOWN)}")
    if policy.unnamed not in UNNAMED:
        raise ValueError(f"unnamed customers: {policy.unnamed!r}; write {', '.join(UNNAMED)}")
    if (policy.unknown == "default_plan") != (policy.plan is not None):
        raise ValueError("a default plan goes with the choice default_plan, and that needs one")
