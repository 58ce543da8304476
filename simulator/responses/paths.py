"""What is done with responses: create, retrieve, cancel, delete, and list the input of one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs

import orjson

from simulator.bill import Charge
from simulator.cache import seen_before
from simulator.dialect import Asked, Said, Stream, Whole
from simulator.directive import NONE, Directive
from simulator.errors import Refusal
from simulator.events import Event
from simulator.replies import json_reply
from simulator.responses.answer import ResponseAnswer, compose
from simulator.responses.events import EventsOf
from simulator.responses.items import read_input
from simulator.responses.request import ResponseCall, read_response
from simulator.responses.store import Job, Kept, Store, begin_charge
from simulator.wire import Reply

LISTED_MAX = 100
LISTED = 20


def read_create(asked: Asked) -> ResponseCall:
    """Read a request to make a response. Raises Refusal on what OpenAI would refuse."""
    context = read_input(asked.body.get("input"), asked.request_id.removeprefix("req_"))
    if (previous := asked.body.get("previous_response_id")) is not None:
        context = [*asked.memory.of(Store).before(str(previous), asked.credential), *context]
    return read_response(asked.body, context, may_direct=asked.may_direct)


def say_create(asked: Asked, call: ResponseCall, wish: Directive) -> Said:
    """The response, whole or as a stream, now or in the background."""
    answer = compose(
        call,
        wish,
        answer_id=f"resp_{asked.request_id.removeprefix('req_')}",
        created=int(time.time()),
        cached=seen_before(asked, call.prompt, call.model),
        usual=asked.tokens,
    )
    job = None
    if call.background:
        job = Job(answer, asked.charge, asked.times)
        asked.charge = Charge()
    else:
        begin_charge(asked.charge, answer)
    if call.store:
        kept = Kept(
            owner=asked.credential,
            answer=answer,
            context=call.context,
            usage=not wish.no_usage,
            job=job,
            streamed=call.stream,
        )
        asked.memory.of(Store).keep(kept)
    if call.stream:
        return _stream(EventsOf(answer, obfuscate=call.obfuscate), answer, wish, job)
    if job is not None:
        return Whole(json_reply(answer.document("queued")), times=(0.0, 0.0))
    document = answer.document(answer.outcome, usage=not wish.no_usage)
    return Whole(json_reply(document), answer)


def _stream(events: EventsOf, answer: ResponseAnswer, wish: Directive, job: Job | None) -> Stream:
    opening = b"".join(events.opening())
    rest = events.rest(wish)
    if job is None:
        return Stream(rest, answer, opening=opening)
    return Stream(_while_running(rest, job), answer, opening=opening, times=job.times)


def _while_running(events: Iterator[Event], job: Job) -> Iterator[Event]:
    """A job's events; none come any more once it is cancelled."""
    for event in events:
        if job.status == "cancelled":
            return
        yield event


@dataclass(frozen=True, slots=True)
class KeptCall:
    """A request for a response that is kept. `after` is the last event that the caller has seen."""

    kept: Kept
    stream: bool = False
    obfuscate: bool = True
    after: int = -1
    directive: Directive = NONE


def read_kept(asked: Asked) -> KeptCall:
    """Read a request for one response. Raises Refusal when there is none such."""
    query = {name: values[-1] for name, values in parse_qs(asked.request.query).items()}
    kept = asked.memory.of(Store).find(asked.names["response"], asked.credential)
    stream = query.get("stream") == "true"
    if stream and (kept.job is None or not kept.streamed):
        raise Refusal(
            400,
            "This response cannot be streamed: it was not created with background=true and stream=true.",
            param="stream",
        )
    after = query.get("starting_after", "-1")
    if not after.removeprefix("-").isdecimal():
        raise Refusal(400, "Invalid 'starting_after': expected an integer.", param="starting_after")
    return KeptCall(kept, stream, query.get("include_obfuscation") != "false", int(after))


@dataclass(frozen=True, slots=True)
class _Left:
    """What a stream that is taken up again still costs time for. Its job is what is charged."""

    hidden: int
    reasoning: int = 0
    completion_tokens: int = 0


def say_kept(asked: Asked, call: KeptCall, wish: Directive) -> Said:
    """The response by now; or its stream, from where the caller was: at once what is made, then the rest."""
    kept = call.kept
    job = kept.job
    if not call.stream or job is None:
        return Whole(json_reply(kept.document()))
    events = EventsOf(kept.answer, obfuscate=call.obfuscate)
    opening = events.opening()
    made = job.made
    rest = _taken_up(events.rest(_ending(kept)), kept.answer, made, call.after + 1 - len(opening))
    return Stream(
        _while_running(rest, job),
        _Left(max(0, kept.answer.reasoning - made)),
        opening=b"".join(opening[call.after + 1 :]),
        times=job.times,
    )


def _ending(kept: Kept) -> Directive:
    """How a job ends, whoever listens: what else the request wished for was for its own stream."""
    return Directive(error_in_stream=kept.answer.fails_after, no_usage=not kept.usage)


def _taken_up(events: Iterator[Event], answer: ResponseAnswer, made: int, seen: int) -> Iterator[Event]:
    """The events after the first `seen`. Those that were made already take no time."""
    said = made - answer.reasoning
    for number, (event, size) in enumerate(events):
        if number >= seen:
            yield event, 0 if size <= said else size
        said -= size


def say_cancel(asked: Asked, call: KeptCall, wish: Directive) -> Whole:
    """The response, stopped. Stopping what is over changes nothing."""
    job = call.kept.job
    if job is None:
        raise Refusal(400, "Cannot cancel a synchronous response.")
    job.cancel()
    return Whole(json_reply(call.kept.document()))


def say_delete(asked: Asked, call: KeptCall, wish: Directive) -> Whole:
    """The response is forgotten."""
    asked.memory.of(Store).delete(call.kept)
    return Whole(json_reply({"id": call.kept.answer.id, "object": "response", "deleted": True}))


@dataclass(frozen=True, slots=True)
class ListCall:
    """A request for the items that a response answered: the newest first, unless `oldest_first`."""

    kept: Kept
    limit: int
    oldest_first: bool
    after: str | None
    directive: Directive = NONE


def read_list(asked: Asked) -> ListCall:
    """Read a request for input items. Raises Refusal when there is no such response."""
    query = {name: values[-1] for name, values in parse_qs(asked.request.query).items()}
    kept = asked.memory.of(Store).find(asked.names["response"], asked.credential)
    limit = query.get("limit", str(LISTED))
    if not limit.isdecimal() or not 1 <= int(limit) <= LISTED_MAX:
        raise Refusal(400, f"Invalid 'limit': expected 1 to {LISTED_MAX}, but got {limit}.", param="limit")
    return ListCall(kept, int(limit), query.get("order") == "asc", query.get("after"))


def say_list(asked: Asked, call: ListCall, wish: Directive) -> Whole:
    """One page of the items."""
    items = call.kept.context if call.oldest_first else call.kept.context[::-1]
    if call.after is not None:
        names = [item["id"] for item in items]
        if call.after not in names:
            raise Refusal(400, f"Item with id '{call.after}' not found.", param="after")
        items = items[names.index(call.after) + 1 :]
    page = items[: call.limit]
    body = {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > len(page),
    }
    return Whole(Reply(200, orjson.dumps(body)))
