"""The span of time that a question is about: half-open, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, model_validator

from gateway.api.fields import Asked, Moment, MomentText, Told, moment_text
from gateway.errors import BadRequest
from metering.rollup import DAY_MS

DAYS_USUAL = 30
DAYS_MAX = 3_660


@dataclass(frozen=True, slots=True)
class Span:
    """[since_ms, until_ms)."""

    since_ms: int
    until_ms: int

    @property
    def before(self) -> Span:
        """The span of the same length that ends where this one begins."""
        return Span(max(0, 2 * self.since_ms - self.until_ms), self.since_ms)


class SpanAsked(Asked):
    """`[date_from, date_to)`, or the last `days` UTC days until `date_to`."""

    date_from: Annotated[Moment | None, Field(description="Begun then or later")] = None
    date_to: Annotated[
        Moment | None, Field(description="Begun before then; by default, and at the latest, now")
    ] = None
    days: Annotated[
        int | None,
        Field(
            ge=1,
            le=DAYS_MAX,
            description=f"Instead of `date_from`: so many UTC days, the one of `date_to` the last of them; "
            f"{DAYS_USUAL} where neither is given",
        ),
    ] = None

    @model_validator(mode="after")
    def one_beginning(self) -> SpanAsked:
        if self.days is not None and self.date_from is not None:
            raise ValueError("send days or date_from, not both")
        return self


class SpanTold(Told):
    """What was asked, as it was understood."""

    since: MomentText = Field(description="The first moment of the span")
    until: MomentText = Field(description="The first moment after it")
    as_of: MomentText = Field(description="When this was answered; events that come later change the past")


def span_of(asked: SpanAsked, at_ms: int) -> Span:
    """The span that is asked for, as `span_between` has it."""
    return span_between(asked.date_from, asked.date_to, asked.days, at_ms)


def span_between(date_from: int | None, date_to: int | None, days: int | None, at_ms: int) -> Span:
    """The span, no later than now: what will be earned is not revenue yet. BadRequest where it is empty."""
    until_ms = at_ms if date_to is None else min(date_to, at_ms)
    if date_from is None:
        count = DAYS_USUAL if days is None else days
        since_ms = max(0, (until_ms - 1) // DAY_MS * DAY_MS - (count - 1) * DAY_MS)
    else:
        since_ms = date_from
    if since_ms >= until_ms:
        raise BadRequest(
            "The span is empty: date_from lies before date_to, and before now.", param="date_from"
        )
    return Span(since_ms, until_ms)


def told_span(span: Span, at_ms: int) -> dict[str, str]:
    """The fields of SpanTold."""
    moments = {"since": span.since_ms, "until": span.until_ms, "as_of": at_ms}
    return {name: moment_text(moment) or "" for name, moment in moments.items()}
