"""Deals in time: what a customer's subscriptions become when it pays otherwise for a while. Pure.

A subscription has one deal from its start to its end, so a deal that begins or ends inside of one cuts it
there. What has begun stays as it was; parts that are alike again, and have not begun, are one again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accounts.subscription import NO_DEAL, Deal, Subscription
from accounts.tables import new_id

_NEVER_MS = 2**63 - 1


def with_deal(
    spans: Sequence[Subscription], deal: Deal, starts_ms: int, ends_ms: int | None, now_ms: int
) -> list[Subscription]:
    """The customer's subscriptions, in order of time, with this deal from a moment on and before another one
    (None: until further notice), not before `now_ms`.

    It holds for the plan that the customer is on then and ends with it. ValueError where it is on none.
    """
    if starts_ms < now_ms:
        raise ValueError("starts_at: a deal cannot begin in the past")
    if ends_ms is not None and ends_ms <= starts_ms:
        raise ValueError("ends_at: a deal ends after its start")
    first = next((each for each in spans if each.covers(starts_ms)), None)
    if first is None:
        raise ValueError(f"the customer is on no plan {'now' if starts_ms == now_ms else 'then'}")
    found: list[Subscription] = []
    reached_ms: int | None = first.starts_ms
    for each in spans:
        follows = reached_ms is not None and each.starts_ms == reached_ms and each.plan == first.plan
        if not follows or (ends_ms is not None and each.starts_ms >= ends_ms):
            found.append(each)
            continue
        reached_ms = each.ends_ms
        found += _cut(each, deal, starts_ms, ends_ms)
    return _joined(found, now_ms)


def without_deal(
    spans: Sequence[Subscription], subscription: Subscription, ends_ms: int, now_ms: int
) -> list[Subscription]:
    """The customer's subscriptions with this one's deal ended at a moment: from then on it pays what the plan
    says. One that would not have begun by then is taken back: what holds before it goes on."""
    if subscription.starts_ms <= now_ms or subscription.starts_ms < ends_ms:
        return with_deal(spans, NO_DEAL, ends_ms, subscription.ends_ms, now_ms)
    before = next((each for each in spans if unlike_only_in_deal(each, subscription)), None)
    deal = NO_DEAL if before is None else before.deal
    return with_deal(spans, deal, subscription.starts_ms, subscription.ends_ms, now_ms)


def unlike_only_in_deal(before: Subscription, after: Subscription) -> bool:
    """Whether the second goes on with the first's terms, but for what is paid."""
    return before.ends_ms == after.starts_ms and _as(after, before, deal=before.deal) == before


def alike_from(spans: Sequence[Subscription], first: Subscription) -> list[Subscription]:
    """The subscription and those after it that go on with its terms, whatever is paid for them."""
    found = [first]
    for each in spans:
        if each.starts_ms > first.starts_ms and unlike_only_in_deal(found[-1], each):
            found.append(each)
    return found


def _cut(span: Subscription, deal: Deal, starts_ms: int, ends_ms: int | None) -> list[Subscription]:
    """A subscription in up to three parts, of which the second has the deal."""
    if span.deal == deal:
        return [span]
    begins_ms, end_ms = max(span.starts_ms, starts_ms), _end(span.ends_ms)
    until_ms = min(end_ms, _end(ends_ms))
    parts = [] if begins_ms == span.starts_ms else [_part(span, span.id, span.starts_ms, begins_ms)]
    parts.append(replace(_part(span, new_id("sub_"), begins_ms, until_ms), deal=deal))
    if until_ms < end_ms:
        parts.append(_part(span, new_id("sub_"), until_ms, end_ms))
    return parts


def _joined(spans: Sequence[Subscription], now_ms: int) -> list[Subscription]:
    found: list[Subscription] = []
    for each in spans:
        last = found[-1] if found else None
        alike = last is not None and last.deal == each.deal and unlike_only_in_deal(last, each)
        if last is not None and alike and each.starts_ms > now_ms:
            found[-1] = replace(last, ends_ms=each.ends_ms, _terms={})
        else:
            found.append(each)
    return found


def _part(span: Subscription, name: str, starts_ms: int, ends_ms: int) -> Subscription:
    ends = None if ends_ms == _NEVER_MS else ends_ms
    return replace(span, id=name, starts_ms=starts_ms, ends_ms=ends, _terms={})


def _as(span: Subscription, other: Subscription, *, deal: Deal) -> Subscription:
    """The span with the other's name and time."""
    return replace(span, id=other.id, starts_ms=other.starts_ms, ends_ms=other.ends_ms, deal=deal)


def _end(ends_ms: int | None) -> int:
    return _NEVER_MS if ends_ms is None else ends_ms
