"""GET /api/events/export: the events of a span as one file, written while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Literal

from pydantic import Field

from gateway.api.endpoint import Answer, Call, Endpoint
from gateway.api.fields import Asked, Moment
from gateway.errors import BadRequest
from metering.eventexport import Told, walk_events
from reports.exporting import MEDIA, Counted, ExportError, compressed, export_parts, shape_of
from reports.parquet import NoParquet


class ExportAsked(Asked):
    """Which events, and as what."""

    format: Annotated[
        Literal["csv", "jsonl", "parquet", "focus", "focus-parquet"],
        Field(description="`focus`: rows of the FOCUS 1.2 specification as CSV; `focus-parquet`: as Parquet"),
    ] = "csv"
    rows: Annotated[
        Literal["events", "attempts", "breakdown"] | None,
        Field(description="What a row is, by default an event; FOCUS has rows of its own"),
    ] = None
    date_from: Annotated[Moment, Field(description="Events begun at or after this moment")]
    date_to: Annotated[Moment | None, Field(description="... and before this one; by default until now")] = (
        None
    )


def export_events(call: Call) -> Answer:
    """The file, its first part read already: what can be refused is refused with a status."""
    asked: ExportAsked = call.query
    try:
        shape = shape_of(asked.format, asked.rows)
        told = walk_events(call.parts.engine, call.account_id, asked.date_from, asked.date_to)
        parts = export_parts(_own(call, told), shape, Counted())
        first = next(parts)
    except ExportError as error:
        raise BadRequest(str(error), code="validation_failed", param="rows") from None
    except NoParquet as error:
        raise BadRequest(str(error), code="format_unavailable", param="format") from None
    name = f"{shape.table}.{shape.writer}"
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "no-store"}
    stream: Iterator[bytes] = chain((first,), parts)
    if shape.writer != "parquet":  # which is compressed already
        headers["vary"] = "Accept-Encoding"
        if accepts_gzip(call.headers.get("accept-encoding", "")):
            headers["content-encoding"] = "gzip"
            stream = compressed(stream)
    return Answer(headers=headers, stream=stream, media=shape.media)


def accepts_gzip(accepted: str) -> bool:
    """Whether who sends this Accept-Encoding can read gzip; without one it is not sent."""
    weights: dict[str, float] = {}
    for each in accepted.lower().split(","):
        coding, _, weight = each.partition(";")
        try:
            weights[coding.strip()] = float(weight.replace(" ", "").removeprefix("q=") or 1)
        except ValueError:
            weights[coding.strip()] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _own(call: Call, told: Iterator[Told]) -> Iterator[Told]:
    """What the key may know of."""
    for each in told:
        if call.bound_customer in (None, each.event.customer) and call.bound_feature in (
            None,
            each.event.feature,
        ):
            yield each


EXPORT = (
    Endpoint(
        "GET",
        "/api/events/export",
        "events.read",
        "The events of a span as a file",
        "events",
        export_events,
        query=ExportAsked,
        description="All events begun in the span, in the order of their starts, as CSV, JSON lines, Parquet "
        "or FOCUS 1.2. Only what was recorded when it was asked for is in it. It is written while it is "
        "read, so a connection that ends early leaves a file that is cut off. All but Parquet is compressed "
        "on the way where `Accept-Encoding` has gzip.",
        bound="own",
        media=tuple(MEDIA.values()),
    ),
)
