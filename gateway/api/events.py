"""Events: what was used and cost, one by one.

GET /api/events             a page of them, with any filters; status=open tells what runs now
GET /api/events/{event}     one with its attempts, its bill and its corrections
"""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Literal

from pydantic import Field, model_validator

from gateway.api.cursor import Part, decode_cursor, encode_cursor
from gateway.api.endpoint import Call, Endpoint
from gateway.api.eventfigures import COUNTED_MAX, count, place_after, reading, with_figures
from gateway.api.eventview import OPEN, EventDetail, EventShown, detailed, shown, shown_open
from gateway.api.fields import Moment, MomentText, Name, Paged, Told, moment_text
from gateway.api.openrequests import OpenRequest, open_requests
from gateway.errors import NotFound
from metering.eventpage import Span, event_page
from metering.removal import complete_since

SCOPE = "events.read"
TAG = "events"
LOOKED_AT_MAX = 20_000
"""Events that one page looks at, at most: with rare filters it has fewer than it may, and a cursor."""
Status = Literal["open", "succeeded", "failed", "cancelled", "cut", "orphaned", "drained"]


class EventsAsked(Paged):
    """Filters are exact, and all of them hold."""

    offset: Annotated[
        int, Field(ge=0, le=COUNTED_MAX, description="Instead of a cursor, near the beginning")
    ] = 0
    feature_key: Name | None = None
    customer_id: Name | None = None
    model: Name | None = None
    source: Literal["gateway", "sdk", "import"] | None = None
    status: Status | None = None
    key: Annotated[Name | None, Field(description="The id of a key")] = None
    task: Name | None = None
    trace: Name | None = None
    date_from: Annotated[Moment | None, Field(description="Begun then or later")] = None
    date_to: Annotated[Moment | None, Field(description="Begun before then")] = None
    sort_by: Annotated[Literal["timestamp"], Field(description="What an index can sort by")] = "timestamp"
    sort_dir: Literal["asc", "desc"] = "desc"

    @model_validator(mode="after")
    def one_way_to_a_page(self) -> EventsAsked:
        if self.cursor is not None and self.offset:
            raise ValueError("send a cursor or an offset, not both")
        if self.status == OPEN and (self.offset or self.sort_dir != "desc"):
            raise ValueError("open requests come newest first, and by cursor")
        return self


CompleteSince = Annotated[
    MomentText | None,
    Field(
        description="Of what was asked for, events that began before then were removed for their age: they "
        "are not told, and not counted. null: none was"
    ),
]


class EventsTold(Told):
    """A page of events."""

    events: list[EventShown]
    total: int | None = Field(description="How many there are with these filters")
    total_reason: str | None = Field(description="Why that is not known; null where it is")
    limit: int
    offset: int
    next_cursor: str | None = Field(
        description="null at the end. A page may have fewer events than `limit`, or none, before it"
    )
    complete_since: CompleteSince


def list_events(call: Call) -> EventsTold:
    """A page of the account's events."""
    asked: EventsAsked = call.query
    names = _names(call)
    if names is None:
        return _told(asked, [], total=0, cursor=None)
    if asked.status == OPEN:
        return _open(call, names)
    listed, ascending = _listed(call, names), asked.sort_dir == "asc"
    until_ms = asked.date_to
    with reading(call.parts.engine) as connection:
        floor_ms = complete_since(connection)
        # Of some days before it rows are kept for sums, and nothing that could be told one by one.
        since_ms = max(asked.date_from or 0, floor_ms)
        missing = missing_before(floor_ms, asked.date_from or 0)
        place = beginning(since_ms) if ascending else None
        if asked.cursor is not None:
            place = str(decode_cursor(listed, asked.cursor, (str,))[0])
        elif asked.offset:
            place = place_after(
                connection,
                call.account_id,
                names,
                since_ms,
                until_ms,
                skipped=asked.offset,
                ascending=ascending,
            )
        total = count(connection, call.account_id, names, since_ms, until_ms)
        if asked.offset and place is None:
            return _told(asked, [], total=total, cursor=None, missing=missing)
        found = event_page(
            connection,
            call.account_id,
            names,
            Span(since_ms, until_ms),
            before=None if ascending else place,
            after=place if ascending else None,
            limit=asked.limit,
            most=LOOKED_AT_MAX,
        )
        rows = with_figures(connection, found.events, found.numbers)
        if ascending:
            rows.reverse()
    following = found.newer if ascending else found.older
    cursor = None if following is None else encode_cursor(listed, (following,))
    return _told(asked, [shown(each) for each in rows], total=total, cursor=cursor, missing=missing)


def show_event(call: Call) -> EventDetail:
    """One event; another account's is not found, as one that does not exist."""
    event = call.parts.events.find(call.path["event"], call.account_id)
    if event is None or not visible(call, event.customer, event.feature):
        raise NotFound("No such event.")
    with reading(call.parts.engine) as connection:
        rows = with_figures(connection, [event])
    if not rows:
        raise NotFound("No such event.")
    return detailed(rows[0], call.parts.events.adjustments_of(event.id))


def beginning(since_ms: int = 0) -> str:
    """The cursor (metering.eventpage) before all events of a span, which names no event."""
    return f"{max(0, since_ms - 1)}.-"


def missing_before(floor_ms: int, since_ms: int = 0) -> str | None:
    """The moment since which all events of a span that begins at `since_ms` are there; None where they all
    are."""
    return moment_text(floor_ms) if since_ms < floor_ms else None


def visible(call: Call, customer: str | None, feature: str | None) -> bool:
    """Whether a key that is bound may know of this customer's and feature's events."""
    return call.bound_customer in (None, customer) and call.bound_feature in (None, feature)


def _names(call: Call) -> dict[str, str] | None:
    """The names that events must have, within what the key may know; None where that leaves nothing."""
    asked: EventsAsked = call.query
    customer = asked.customer_id or call.bound_customer
    feature = asked.feature_key or call.bound_feature
    if not visible(call, customer, feature):
        return None
    names = {
        "customer": customer,
        "feature": feature,
        "model": asked.model,
        "source": asked.source,
        "status": None if asked.status == OPEN else asked.status,
        "key_id": asked.key,
        "task_id": asked.task,
        "trace_id": asked.trace,
    }
    return {name: value for name, value in names.items() if value is not None}


def _listed(call: Call, names: dict[str, str]) -> tuple[Part, ...]:
    """What a cursor of this list is good for."""
    asked: EventsAsked = call.query
    pairs = (part for name in sorted(names) for part in (name, names[name]))
    status = OPEN if asked.status == OPEN else None
    return ("events", call.account_id, status, asked.sort_dir, asked.date_from, asked.date_to, *pairs)


def _told(
    asked: EventsAsked,
    rows: list[EventShown],
    *,
    total: int | None,
    cursor: str | None,
    reason: str = "",
    missing: str | None = None,
) -> EventsTold:
    unknown = reason or f"more than {COUNTED_MAX} would have to be counted"
    return EventsTold(
        events=rows,
        total=total,
        total_reason=unknown if total is None else None,
        limit=asked.limit,
        offset=asked.offset,
        next_cursor=cursor,
        complete_since=missing,
    )


def _open(call: Call, names: dict[str, str]) -> EventsTold:
    """What runs now: read from the ledger, so that nothing is told that is not held."""
    asked: EventsAsked = call.query
    listed, before = _listed(call, names), None
    if asked.cursor is not None:
        before = str(decode_cursor(listed, asked.cursor, (str,))[0])
    running = open_requests(call.parts.redis, call.account_id, before)
    found = list(islice((each for each in running if _fits(each, names, asked)), asked.limit + 1))
    rows = found[: asked.limit]
    more = len(found) > asked.limit
    return _told(
        asked,
        [shown_open(each.event, each.held_nano, each.known_nano) for each in rows],
        total=None if more or before is not None else len(rows),
        cursor=encode_cursor(listed, (rows[-1].event.id,)) if more else None,
        reason="requests begin and end while they are counted",
    )


def _fits(request: OpenRequest, names: dict[str, str], asked: EventsAsked) -> bool:
    event = request.event
    has = {
        "customer": event.customer,
        "feature": event.feature,
        "model": event.model or event.model_requested,
        "source": event.source,
        "key_id": event.key_id,
        "task_id": event.task,
        "trace_id": event.trace_id,
    }
    return (
        all(has[name] == value for name, value in names.items())
        and (asked.date_from is None or event.started_ms >= asked.date_from)
        and (asked.date_to is None or event.started_ms < asked.date_to)
    )


EVENTS = (
    Endpoint(
        "GET",
        "/api/events",
        SCOPE,
        "Events, newest first",
        TAG,
        list_events,
        answer=EventsTold,
        query=EventsAsked,
        description="Every accepted request is one event, also those that failed or were cut, and every call "
        "that was reported. `status=open` tells the requests that run now. Pages are by the moment of the "
        "start; a cursor leads to any depth at the same price.",
        bound="own",
    ),
    Endpoint(
        "GET",
        "/api/events/{event}",
        SCOPE,
        "One event with its attempts, its bill and its corrections",
        TAG,
        show_event,
        answer=EventDetail,
        bound="own",
    ),
)
