"""What an attempt met, and what follows from it: the tables. Pure.

An attempt is repeated at the same target only where it surely cost nothing: a provider does not bill what it
refused, nor what it never received. After an attempt of unknown cost another target may be asked, once the
ledger has held that one's cost beside what the first may still claim.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What became of one attempt. The values are words of the configuration (`fallback_on`) and of
    metrics."""

    ANSWERED = "answered"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    CREDENTIAL = "credential"
    NO_SUCH_MODEL = "no_such_model"
    CONTEXT_TOO_LONG = "context_too_long"
    CONTENT_POLICY = "content_policy"
    CALLERS_FAULT = "callers_fault"
    UNEXPECTED = "unexpected"
    NOT_SENT = "not_sent"
    TIMEOUT = "timeout"
    LOST = "lost"
    ERROR_IN_STREAM = "error_in_stream"


class Next(Enum):
    """Which other targets may be asked."""

    NONE = "none"
    ANY = "any"
    LARGER = "larger"


class Step(Enum):
    """What to do after an attempt."""

    DONE = "done"
    AGAIN = "again"
    ELSEWHERE = "elsewhere"
    NEXT = "next"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from an outcome.

    again: the same target, after a wait. patient: only where no other target could answer instead (to wait
    for a rate limit is the last resort). elsewhere: another endpoint (credential, region) of the same
    provider. targets: which other targets. free: it surely cost nothing. fails: it counts against the
    target's circuit. aside: its credential is set aside for a while. budgeted: trying again is extra load
    for a provider in trouble, so the retry budget must allow it. passed_on: the provider's own words are for
    the caller.
    """

    again: bool = False
    patient: bool = False
    elsewhere: bool = False
    targets: Next = Next.ANY
    free: bool = True
    fails: bool = False
    aside: bool = False
    budgeted: bool = True
    passed_on: bool = False


RULES: dict[Outcome, Rule] = {
    Outcome.ANSWERED: Rule(targets=Next.NONE),
    Outcome.RATE_LIMITED: Rule(again=True, patient=True, elsewhere=True, aside=True, passed_on=True),
    Outcome.SERVER_ERROR: Rule(again=True, elsewhere=True, fails=True),
    # Our credential was refused, or its account has no money: another one may do; the caller cannot mend it.
    Outcome.CREDENTIAL: Rule(elsewhere=True, aside=True, budgeted=False),
    # A route's target may be misspelt, or its model retired: the caller asked for the route.
    Outcome.NO_SUCH_MODEL: Rule(budgeted=False, passed_on=True),
    Outcome.CONTEXT_TOO_LONG: Rule(targets=Next.LARGER, budgeted=False, passed_on=True),
    Outcome.CONTENT_POLICY: Rule(budgeted=False, passed_on=True),
    Outcome.CALLERS_FAULT: Rule(targets=Next.NONE, passed_on=True),
    Outcome.UNEXPECTED: Rule(targets=Next.NONE),
    Outcome.NOT_SENT: Rule(again=True, patient=True, elsewhere=True, fails=True),
    Outcome.TIMEOUT: Rule(free=False, fails=True),
    Outcome.LOST: Rule(free=False, fails=True),
    Outcome.ERROR_IN_STREAM: Rule(free=False, fails=True),
}

FALLBACKS = tuple(outcome.value for outcome, rule in RULES.items() if rule.targets is not Next.NONE)
"""The outcomes after which another target may be asked."""

_BY_STATUS = {
    401: Outcome.CREDENTIAL,
    402: Outcome.CREDENTIAL,
    403: Outcome.CREDENTIAL,
    404: Outcome.NO_SUCH_MODEL,
    408: Outcome.SERVER_ERROR,
    409: Outcome.SERVER_ERROR,
    425: Outcome.SERVER_ERROR,
    429: Outcome.RATE_LIMITED,
}


def of_status(status: int) -> Outcome:
    """The outcome that an answer's status alone tells; `routing.refusal` reads the body of some."""
    if 200 <= status < 300:
        return Outcome.ANSWERED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return Outcome.CALLERS_FAULT
    return Outcome.SERVER_ERROR if status >= 500 else Outcome.UNEXPECTED


@dataclass(frozen=True, slots=True)
class Chances:
    """What is still open to one request after an attempt.

    endpoints: another endpoint of the provider is not set aside. repeats: how often the same target may still
    be asked. wait_s: how long that must wait; None where it would be too long. targets: another target
    remains that the rule allows.
    """

    endpoints: bool
    repeats: int
    wait_s: float | None
    targets: bool


def after(outcome: Outcome, chances: Chances) -> Step:
    """What to do next; whether a budget lets it is asked separately."""
    rule = RULES[outcome]
    if outcome is Outcome.ANSWERED:
        return Step.DONE
    if rule.elsewhere and chances.endpoints:
        return Step.ELSEWHERE
    if (
        rule.again
        and chances.repeats > 0
        and chances.wait_s is not None
        and not (rule.patient and chances.targets)
    ):
        return Step.AGAIN
    return Step.NEXT if chances.targets else Step.STOP
