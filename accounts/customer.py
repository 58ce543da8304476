"""The customer as recorded, and what its subscriptions are checked by and made of. No I/O."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from accounts.plan import OWN_DAY, CheckLimit, PlanVersion, check_plan
from accounts.subscription import Deal, Overrides, Subscription
from accounts.tables import new_id


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as recorded. `subscriptions`: all there ever were, in order of time."""

    customer: str
    name: str
    created_ms: int
    subscriptions: tuple[Subscription, ...] = ()

    def at(self, moment_ms: int) -> Subscription | None:
        """The subscription that covers the moment."""
        return next((each for each in self.subscriptions if each.covers(moment_ms)), None)


def going_on(
    present: Subscription,
    now_ms: int,
    *,
    version: int | None = None,
    overrides: Overrides | None = None,
    deal: Deal | None = None,
) -> Subscription:
    """What follows when a subscription goes on otherwise from now on; None: as it is."""
    return replace(
        present,
        id=new_id("sub_"),
        version=present.version if version is None else version,
        starts_ms=now_ms,
        overrides=present.overrides if overrides is None else overrides,
        deal=present.deal if deal is None else deal,
        _terms={},
    )


def day_of(moment_ms: int, time_zone: str) -> int:
    """The day of the month that a subscription from this moment on has."""
    return _local(moment_ms, time_zone).day


def month_of(moment_ms: int, time_zone: str, first_day: int) -> int:
    """The month, counted from the year 0, in which what covers this moment began, where months begin on this
    day or on their last one."""
    moment = _local(moment_ms, time_zone)
    begun = moment.day >= min(first_day, monthrange(moment.year, moment.month)[1])
    return moment.year * 12 + moment.month - 1 - (not begun)


def _local(moment_ms: int, time_zone: str) -> datetime:
    moment = datetime.fromtimestamp(moment_ms / 1_000, UTC)
    return moment.astimezone(UTC if time_zone == "UTC" else ZoneInfo(time_zone))


def check_overrides(plan: PlanVersion, overrides: Overrides | None, check_limit: CheckLimit | None) -> None:
    """Raise ValueError, naming what is wrong, for what a customer of this plan cannot have otherwise."""
    rules = {rule.name: rule for rule in plan.rules}
    for name, each in (overrides.limits if overrides is not None else {}).items():
        if name not in rules:
            known = ", ".join(sorted(rules)) or "none"
            raise ValueError(f"the plan {plan.label} has no limit {name!r}; its limits: {known}")
        day = 1 if plan.anchor == OWN_DAY else plan.anchor
        if each.value is None and each.enforcement is None:
            raise ValueError(f"{name}: an override changes the value or the enforcement")
        check_plan(
            replace(
                plan,
                anchor=day,
                rules=(
                    replace(
                        rules[name],
                        value=rules[name].value if each.value is None else each.value,
                        enforcement=each.enforcement or rules[name].enforcement,
                    ),
                ),
                _terms={},
            ),
            check_limit,
        )
