"""What the ledger's refusals mean to a caller. Pure."""

from __future__ import annotations

from budgets.ledger import Refused
from budgets.limit import PART_SEPARATOR, LimitTerms
from gateway.errors import BadKey, BudgetExhausted, BudgetReserved, GatewayError, RateLimited, Unavailable
from metering.money import nano_to_usd

RETRY_MAX_S = 30
"""Holds come and go; whoever waits longer than this for one learns nothing from the figure."""

_UNITS = {
    "requests": "requests",
    "tokens": "tokens",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
}
_NOUNS = {"customer_feature": "customer's use of the feature"}


def denial(refused: Refused) -> GatewayError:
    """The error to answer with."""
    limit = refused.limit
    if refused.reason in ("REVOKED", "EXPIRED"):
        return BadKey(f"This API key is {refused.reason.lower()}.")
    if limit is None:
        return Unavailable("The ledger is not ready for this account yet; try again.")
    if refused.reason == "EXHAUSTED":
        return BudgetExhausted(
            f"{_called(limit)} has {_amount(limit, refused.free)} left of {_amount(limit, refused.value)}, "
            "less than this request may take.",
            param=limit.id,
        )
    wait_s = retry_after_s(refused)
    if refused.reason == "RATE":
        return RateLimited(
            f"{_called(limit)} allows {refused.value} {limit.kind.replace('_', ' ')}; "
            f"try again in {wait_s} s.",
            param=limit.id,
            retry_after_s=wait_s,
        )
    if limit.kind == "concurrency":
        return RateLimited(
            f"{_called(limit)} allows {refused.value} requests at once, and so many are running; try again.",
            param=limit.id,
            retry_after_s=wait_s,
        )
    return BudgetReserved(
        f"What is left of {_called(limit, article='the')} is held by running requests; try again.",
        param=limit.id,
        retry_after_s=wait_s,
    )


def retry_after_s(refused: Refused) -> int:
    """Whole seconds after which to try again.

    A rate tells it exactly. For what others hold it is the rest of the oldest lease: by then its request has
    ended, or shown that it goes on.
    """
    if refused.retry_ms is None:
        return 1
    seconds = -(-refused.retry_ms // 1_000)
    return max(1, seconds if refused.reason == "RATE" else min(seconds, RETRY_MAX_S))


def _called(limit: LimitTerms, *, article: str = "The") -> str:
    noun = _NOUNS.get(limit.scope, limit.scope)
    kind = "budget" if limit.kind == "money" else "limit"
    window = "" if limit.window in ("lifetime", "minute", "now") else f" of this {limit.window}"
    name = "" if limit.scope in ("key", "account") else f" {limit.scope_id.replace(PART_SEPARATOR, ' / ')!r}"
    whose = noun if "'s" in noun else f"{noun}{name}'s"
    return f"{article} {whose} {kind}{window} ({limit.id})"


def _amount(limit: LimitTerms, amount: int | None) -> str:
    amount = max(0, amount or 0)
    return (
        f"${nano_to_usd(amount)}"
        if limit.kind == "money"
        else f"{amount} {_UNITS.get(limit.kind, '')}".strip()
    )
