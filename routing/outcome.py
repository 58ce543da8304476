"""What an attempt met, and what follows from it: the tables. Pure.

`NEXT` is taken only where the attempt surely cost nothing: a provider does not bill what it refused, nor
what it never received. An attempt whose cost is unknown is never repeated on the same hold.
"""

from __future__ import annotations

from enum import Enum


class Verdict(Enum):
    """What to do after an attempt."""

    DONE = "done"
    NEXT = "next"
    CALLERS_FAULT = "callers_fault"
    GIVE_UP = "give_up"


class Failure(Enum):
    """How an attempt failed without an answer."""

    NOT_SENT = "not_sent"
    LOST = "lost"
    TIMEOUT = "timeout"


_BY_STATUS = {
    408: Verdict.NEXT,
    409: Verdict.NEXT,
    425: Verdict.NEXT,
    429: Verdict.NEXT,
    # Our own credential was refused: another target may hold another one; the caller cannot mend it.
    401: Verdict.NEXT,
    403: Verdict.NEXT,
}

_BY_FAILURE = {
    Failure.NOT_SENT: Verdict.NEXT,
    Failure.LOST: Verdict.GIVE_UP,
    Failure.TIMEOUT: Verdict.GIVE_UP,
}

PASSED_ON = frozenset({429})
"""Statuses that are not the caller's fault and still reach the caller as they are: it must slow down."""


def after_status(status: int) -> Verdict:
    """The verdict on an answer's status."""
    if 200 <= status < 300:
        return Verdict.DONE
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 400 <= status < 500:
        return Verdict.CALLERS_FAULT
    if status >= 500:
        return Verdict.NEXT
    return Verdict.GIVE_UP


def after_failure(failure: Failure) -> Verdict:
    """The verdict on an attempt that brought no answer."""
    return _BY_FAILURE[failure]
