"""Standing: under which limits one caller's request runs, by the copies that this worker has of them."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.entitlement import FREE, Entitlement
from accounts.key import KeyRecord
from accounts.terms import AccountTerms, CustomerTerms
from budgets.ledger import LedgerUnavailable, Versions
from budgets.limit import Attribution, LimitTerms
from budgets.rowset import RowSet, TooManyLimits
from gateway.admission import Caller
from gateway.attribution import Headers
from gateway.entitlements import refusal_of
from gateway.errors import LEDGER_AWAY, Misconfigured, Unavailable
from gateway.parts import Parts
from routing.table import Route

_MONEY, _TOKENS = "m", frozenset("tio")


@dataclass(frozen=True, slots=True)
class Standing:
    """One request's limits: the lists they stand in (the last one: its customer's plan's), the versions of
    these, and the rows that apply.

    `bounds_money`, `bounds_tokens`: a hard limit counts them, so the request needs a ceiling in them.
    """

    key: KeyRecord
    of: Attribution
    versions: Versions
    lists: tuple[tuple[LimitTerms, ...], ...]
    rows: RowSet

    @property
    def bounds_money(self) -> bool:
        return _MONEY in self.rows.hard_meters

    @property
    def bounds_tokens(self) -> bool:
        return not _TOKENS.isdisjoint(self.rows.hard_meters)

    @property
    def counts_tokens(self) -> bool:
        """Some row counts tokens, so what is held and used of them must be worked out."""
        return len(self.rows.meters) > 1 and not _COUNTING.isdisjoint(self.rows.meters)


_COUNTING = frozenset("tiok")


STANDINGS_MAX = 10_000
MadeOf = tuple[KeyRecord, AccountTerms, CustomerTerms | None, Entitlement]
"""The copies that a standing was worked out from: it holds while these are the worker's."""
Name = tuple[str, str | None, str | None, str | None, str | None, str]
"""Key, customer, feature, workspace, trace where limits are on traces, route."""
Standings = dict[Name, tuple[MadeOf, Standing]]


async def find_standing(
    parts: Parts, caller: Caller, headers: Headers, route: Route, now_ms: int
) -> Standing:
    """What this worker knows of the caller's limits, worked out once for requests that are alike.
    Unavailable when it has no copy and cannot get one, NotEntitled where its copies say that the customer may
    not use the feature: they may be old."""
    key = caller.key
    customer, feature = caller.customer, caller.feature
    try:
        account, own, asked = await parts.entitlements.terms(key.account_id, customer)
        granted = FREE
        if account.policy is not None:
            granted = await parts.entitlements.decide(
                key.account_id, account.policy, own, customer, feature, now_ms
            )
    except LedgerUnavailable:
        raise Unavailable(LEDGER_AWAY) from None
    if not granted.granted:
        raise refusal_of(granted, customer, feature)
    trace = headers.trace_id if _counts_traces(account) else None
    name = (key.id, customer, feature, headers.workspace, trace, route.alias)
    known = parts.standings.get(name)
    if known is not None:
        made_of, standing = known
        same = made_of[0] is key and made_of[1] is account and made_of[2] is own and made_of[3] == granted
        if same and parts.ledger.covers(standing.rows, now_ms):
            return standing
    standing = _worked_out(parts, (key, account, own, granted), asked, name, now_ms)
    parts.standings[name] = ((key, account, own, granted), standing)
    if len(parts.standings) > STANDINGS_MAX:
        del parts.standings[next(iter(parts.standings))]
    return standing


def _worked_out(parts: Parts, made_of: MadeOf, asked: bool, name: Name, now_ms: int) -> Standing:
    key, account, own, granted = made_of
    _, customer, feature, workspace, trace, route = name
    versions = Versions(key.version, account.version, (own.version if own else 0) if asked else None)
    of = Attribution(
        account_id=key.account_id,
        key_id=key.id,
        customer=customer,
        workspace=workspace,
        feature=feature,
        plan=granted.plan,
        trace_id=trace,
        route=route,
        label=granted.label,
    )
    lists = (key.limits, account.limits, own.limits if own else (), granted.limits)
    try:
        rows = parts.ledger.rows(lists, versions, of, now_ms)
    except TooManyLimits as error:
        raise Misconfigured(
            f"{error}. The gateway's operator must change this.", code="too_many_limits"
        ) from None
    return Standing(key, of, versions, lists, rows)


def _counts_traces(account: AccountTerms) -> bool:
    """Only where a limit is on traces do they tell requests apart: else each would have rows of its own."""
    return any(limit.scope == "trace" for limit in account.limits)
