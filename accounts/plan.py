"""The plan: which features its customers may use, and how much of them. Versions never change. No I/O.

A plan is known by its key (`pro`), one of its versions by its label (`pro@3`). Where its months begin on the
customer's own day, requests are recorded under a label that tells the day (`pro@3+15`), because that decides
in which windows they count.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import orjson

from accounts.feature import check_feature
from accounts.planprice import PlanPrice, check_plan_price

EACH = "*"
PART_SEPARATOR = "\x1f"
MODES = ("reset", "accumulate")
OWN_DAY = 0
"""As a plan's anchor: months begin on the customer's own day."""
RULES_MAX = 12
"""So many rules may count one request: the ledger checks 16 limits in one step, and there are others."""
COUNTED = ("money", "requests", "tokens", "input_tokens", "output_tokens")
_PLAN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NUMBER = re.compile(r"[0-9]{1,9}")
_CALENDAR = ("day", "week", "month")


@dataclass(frozen=True, slots=True)
class PlanRule:
    """How much of a feature (None: of all together) one customer may use in each window.

    value: nano-USD for the kind money, else a count. reset: what is not used of a window is gone with it.
    accumulate: it is added to the next one, up to `carry_max`.
    """

    kind: str
    window: str
    value: int
    feature: str | None = None
    enforcement: str = "hard"
    mode: str = "reset"
    carry_max: int = 0
    thresholds: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """`summarize/requests/month`; `*/money/day` of all features together."""
        return f"{self.feature or EACH}/{self.kind}/{self.window}"

    @property
    def scope(self) -> str:
        return "customer" if self.feature is None else "customer_feature"

    @property
    def scope_id(self) -> str:
        return EACH if self.feature is None else f"{EACH}{PART_SEPARATOR}{self.feature}"


@dataclass(frozen=True, slots=True)
class PlanLimit:
    """A plan's rule as the ledger enforces it: one row for each customer, with the value of their plan.

    `id` names what counts: it is the same for every plan and version whose rule counts the same thing in the
    same windows, so that counters go on when a customer changes plans. `value_id` names the value in force.
    `carry`: how much of a former window may be added to it, and for whom; None where nothing is. `rule`: the
    rule's name. `plan`: the label of the plan's version.
    """

    id: str
    scope: str
    scope_id: str
    window: str
    kind: str
    enforcement: str
    value: int
    value_id: str
    plan: str
    rule: str
    carry: tuple[int, str] | None = None
    version: int = 1
    time_zone: str = "UTC"
    anchor: int = 1
    thresholds: tuple[int, ...] = ()
    created_ms: int = 0


@dataclass(frozen=True, slots=True)
class PlanTerms:
    """A plan version at one anchor: the label that requests are recorded under, and the limits."""

    label: str
    limits: tuple[PlanLimit, ...]


@dataclass(frozen=True, slots=True)
class PlanVersion:
    """One version of a plan.

    features: those it grants. others: whether features that it does not name, and requests that name none,
    are granted too. anchor: the day on which months begin, OWN_DAY for each customer's own. price: what its
    customers pay; None where that is not known here.
    """

    plan: str
    version: int
    features: tuple[str, ...] = ()
    others: bool = False
    rules: tuple[PlanRule, ...] = ()
    time_zone: str = "UTC"
    anchor: int = 1
    name: str = ""
    price: PlanPrice | None = None
    _terms: dict[int, PlanTerms] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label(self) -> str:
        return f"{self.plan}@{self.version}"

    @property
    def interval_months(self) -> int:
        """How many months a billing period has."""
        return 1 if self.price is None else self.price.interval_months

    def grants(self, feature: str | None) -> bool:
        """Whether its customers may use the feature; None: a request that names none."""
        return self.others or feature in self.features

    def terms(self, own_day: int = 1) -> PlanTerms:
        """The label and the limits of customers with this day of the month."""
        day = own_day if self.anchor == OWN_DAY else self.anchor
        terms = self._terms.get(day)
        if terms is None:
            label = f"{self.label}+{day}" if self.anchor == OWN_DAY else self.label
            terms = PlanTerms(label, tuple(plan_limit(self, rule, day) for rule in self.rules))
            self._terms[day] = terms
        return terms

    def values(self) -> dict[str, int]:
        """Value ids and values, as the ledger must know them before a customer is on this version."""
        return {value_id(self.label, rule): rule.value for rule in self.rules}

    def content(self) -> dict[str, Any]:
        """What two versions differ in, as JSON types."""
        price = {} if self.price is None else {"price": self.price.to_fields()}
        return {
            "name": self.name,
            "features": list(self.features),
            "others": self.others,
            "time_zone": self.time_zone,
            "anchor": self.anchor,
            "rules": [
                {slot: getattr(rule, slot) for slot in PlanRule.__slots__ if slot != "thresholds"}
                | {"thresholds": list(rule.thresholds)}
                for rule in self.rules
            ],
            **price,
        }

    def to_document(self) -> bytes:
        """The version as JSON, for the record and for Redis."""
        return orjson.dumps({"plan": self.plan, "version": self.version, **self.content()})

    @classmethod
    def from_document(cls, document: bytes | str) -> PlanVersion:
        """The version in a document; unknown fields are ignored. ValueError: not a plan's document."""
        fields = orjson.loads(document)
        try:
            price = fields.get("price")
            return cls(
                plan=fields["plan"],
                version=int(fields["version"]),
                features=tuple(fields["features"]),
                others=bool(fields["others"]),
                rules=tuple(_rule(each) for each in fields["rules"]),
                time_zone=fields["time_zone"],
                anchor=int(fields["anchor"]),
                name=fields["name"],
                price=None if price is None else PlanPrice.from_fields(price),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a plan's document: {error!r}") from None


def _rule(fields: Mapping[str, Any]) -> PlanRule:
    values = {slot: fields[slot] for slot in PlanRule.__slots__}
    values["thresholds"] = tuple(values["thresholds"])
    return PlanRule(**values)


def value_id(owner: str, rule: PlanRule) -> str:
    """How the value of a rule is called. `owner`: the plan version's label, or who has it otherwise."""
    return f"{owner}/{rule.name}"


def counter_id(rule: PlanRule, time_zone: str, anchor: int) -> str:
    """How what a rule counts is called: the same in every plan, so that counting goes on between plans."""
    window_terms = (time_zone, str(anchor)) if rule.window in _CALENDAR else ("UTC", "1")
    text = PART_SEPARATOR.join((rule.feature or "", rule.kind, rule.window, *window_terms))
    return f"ent_{sha256(text.encode()).hexdigest()[:16]}"


def plan_limit(plan: PlanVersion, rule: PlanRule, day: int) -> PlanLimit:
    """The rule as a limit, for customers whose months begin on this day."""
    anchor = day if rule.window == "month" else 1
    time_zone = plan.time_zone if rule.window in _CALENDAR else "UTC"
    return PlanLimit(
        id=counter_id(rule, time_zone, anchor),
        scope=rule.scope,
        scope_id=rule.scope_id,
        window=rule.window,
        kind=rule.kind,
        enforcement=rule.enforcement,
        value=rule.value,
        value_id=value_id(plan.label, rule),
        plan=plan.label,
        rule=rule.name,
        carry=(rule.carry_max, plan.label) if rule.mode == "accumulate" else None,
        time_zone=time_zone,
        anchor=anchor,
        thresholds=rule.thresholds,
    )


def plan_of(label: str) -> str:
    """The plan's key in a label."""
    return label.partition("@")[0]


def version_of(label: str) -> tuple[str, int] | None:
    """The plan's key and the version in a label; None where it is none."""
    plan, _, rest = label.partition("@")
    version = rest.partition("+")[0]
    return (plan, int(version)) if plan and _NUMBER.fullmatch(version) else None


CheckLimit = Callable[[PlanLimit], None]
"""Raises ValueError, naming what is wrong, for a limit that the ledger could not keep."""


def check_plan(plan: PlanVersion, check_limit: CheckLimit | None = None) -> None:
    """Raise ValueError, naming what is wrong, for a plan that could not be enforced as it is meant.

    `check_limit` judges each limit as the ledger would have to keep it.
    """
    if not _PLAN.fullmatch(plan.plan):
        raise ValueError(
            f"plan {plan.plan!r}: write 1 to 64 letters, digits, dots, hyphens and underscores, "
            "the first one a letter or digit"
        )
    for feature in plan.features:
        check_feature(feature)
    if not OWN_DAY <= plan.anchor <= 31:
        raise ValueError(f"plan {plan.plan}: anchor {plan.anchor}: write a day of the month, 1 to 31")
    if check_limit is not None:
        _check_time_zone(plan, check_limit)
    if plan.price is not None:
        check_plan_price(f"plan {plan.plan}", plan.price, plan.grants)
    together = sum(rule.feature is None for rule in plan.rules)
    for used in dict.fromkeys(rule.feature for rule in plan.rules):
        count = together + sum(rule.feature == used for rule in plan.rules if rule.feature is not None)
        if count > RULES_MAX:
            raise ValueError(
                f"plan {plan.plan}: {count} limits count a request for {used or 'any feature'}; "
                f"at most {RULES_MAX} can"
            )
    names = [rule.name for rule in plan.rules]
    for rule in plan.rules:
        where = f"plan {plan.plan}, {rule.name}"
        if names.count(rule.name) > 1:
            raise ValueError(f"{where}: is limited twice; one limit of a kind for each window")
        if rule.feature is not None and rule.feature not in plan.features:
            raise ValueError(f"{where}: the plan does not grant the feature {rule.feature!r}")
        if rule.mode not in MODES:
            raise ValueError(f"{where}: mode {rule.mode!r} is unknown; known: {', '.join(MODES)}")
        if rule.mode == "accumulate":
            _check_carry(where, rule)
        elif rule.carry_max:
            raise ValueError(f"{where}: carry_max goes with the mode accumulate")
        if check_limit is not None:
            for day in range(1, 32) if plan.anchor == OWN_DAY else (plan.anchor,):
                try:
                    check_limit(plan_limit(plan, rule, day))
                    check_limit(replace(plan_limit(plan, rule, day), value=rule.value + rule.carry_max))
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from None


def _check_time_zone(plan: PlanVersion, check_limit: CheckLimit) -> None:
    """Its subscriptions and billing periods begin by it, also where none of its limits does."""
    by_day = PlanRule("requests", "day", 0)
    try:
        check_limit(plan_limit(plan, by_day, 1))
    except ValueError as error:
        raise ValueError(f"plan {plan.plan}: {error}") from None


def _check_carry(where: str, rule: PlanRule) -> None:
    if rule.kind not in COUNTED or rule.window not in _CALENDAR:
        raise ValueError(
            f"{where}: only what is counted by day, week or month can accumulate: {', '.join(COUNTED)}"
        )
    if rule.carry_max < 1:
        raise ValueError(f"{where}: what accumulates needs carry_max, the most that is carried over")
