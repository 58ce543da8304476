"""Where applications report events after the fact.

POST /api/events/ingest       up to 1,000 at once, each taken or refused by itself
POST /api/v1/client/events    one, with a key of its own
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from hashlib import sha256
from typing import Any

from accounts.profilebook import ProfileBook
from accounts.publishing import wall_ms
from accounts.scope import ADMIN, allows
from gateway.api.answers import Conflict, body_of, error_of
from gateway.api.endpoint import Answer, Call, Endpoint
from gateway.api.ingestmodels import (
    EVENTS_MAX,
    BatchAnswer,
    EarlierEvent,
    EventAnswer,
    EventBody,
    IngestAnswer,
    IngestBody,
    IngestError,
    IngestQuery,
    ObserveAnswer,
    ObserveError,
)
from gateway.errors import BadRequest, CallerFault, NotFound
from gateway.ingest.fields import KEY_MAX, Refused, id_field
from gateway.ingest.making import Report
from gateway.ingest.metrics import counted_rejected
from gateway.ingest.observe import read_observe
from gateway.ingest.platform import CUSTOMERS, FEATURES, STRIPE, read_platform
from gateway.ingest.work import Became, Once, Outcome, Rendered, Work

BODY_BYTES_MAX = 16 * 1024 * 1024
EVENT_BYTES_MAX = 1024 * 1024
"""Of one event: 64 properties of 1,024 characters, each of which JSON may write as twelve bytes, fit in."""
ONCE = "idempotency-key"
"""The header under which a whole request is answered once."""
EVENT_KEY = "x-idempotency-key"
"""The header that names one event."""
_HEADER_KEY = re.compile(rf"[ -~]{{1,{KEY_MAX}}}\Z")


def ingest(call: Call) -> Future[Answer]:
    """POST /api/events/ingest."""
    items = call.body.events
    if type(items) is not list:
        raise BadRequest("events: expected a list of events.", param="events")
    if not items:
        raise BadRequest("events: the list is empty.", param="events")
    if len(items) > EVENTS_MAX:
        raise BadRequest(f"Batch size exceeds maximum of {EVENTS_MAX} events.", param="events")
    once = _key_of(call, ONCE)
    places, reports, errors = _read_batch(call, items)
    counted_rejected(len(errors))
    as_observe = call.query.compat is not None

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        answer = _batch_answer(places, outcomes, errors)
        return Rendered(200, body_of(_observed(answer) if as_observe else answer, platform=False))

    digests = [f"{report.key or ''}\0{report.digest}" for report in reports]
    digests += [f"{error.index}\0{error.code}\0{error.error}" for error in errors]
    digests.append("observe" if as_observe else "")
    return _submitted(call, Work(call.account_id, reports, render, _once(once, "ingest", digests)))


def event(call: Call) -> Future[Answer]:
    """POST /api/v1/client/events."""
    now_ms, once = wall_ms(), _key_of(call, ONCE)
    body = call.body.model_dump(by_alias=True, exclude_unset=True)
    telling = call.parts.ingest.telling(call.key, 1, now_ms)
    try:
        body = _without_stripe(call, body)
        names = [
            next((name for name in ways if body.get(name) is not None), ways[0])
            for ways in (CUSTOMERS, FEATURES)
        ]
        reported = read_platform(
            telling.with_own_names(body, *names),
            now_ms,
            header_key=_key_of(call, EVENT_KEY),
            backfill=allows(call.key.scopes, ADMIN),
        )
        report = telling.report(reported)
    except Refused as error:
        counted_rejected(1)
        kind = NotFound if error.code == "not_found" else BadRequest
        raise kind(f"{error}.", code=error.code, param=error.field) from None

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        return _event_answer(outcomes[0], call.request_id)

    digests = [f"{report.key or ''}\0{report.digest}"]
    return _submitted(call, Work(call.account_id, [report], render, _once(once, "event", digests)))


def _without_stripe(call: Call, body: dict[str, Any]) -> dict[str, Any]:
    """The event with its customer's own name in place of the id at Stripe that is recorded with it.

    Raises Refused where that id is nobody's, or of several; a bound key knows of its own customer alone.
    """
    stripe_id = id_field(STRIPE, body.get(STRIPE))
    if stripe_id is None or any(body.get(name) is not None for name in CUSTOMERS):
        return body  # none, or one name too many, which its reader refuses
    found = ProfileBook(call.parts.engine, call.account_id).linked_with(stripe_id)
    known = [each for each in found if call.bound_customer in (None, each)]
    if not known:
        raise Refused(f"{STRIPE}: no customer is linked with it", code="not_found", field=STRIPE)
    if len(known) > 1:
        raise Refused(f"{STRIPE}: several customers are linked with it", field=STRIPE)
    return {name: value for name, value in body.items() if name != STRIPE} | {CUSTOMERS[0]: known[0]}


def _read_batch(call: Call, items: Sequence[Any]) -> tuple[list[int], list[Report], list[IngestError]]:
    """(places in the batch, their reports, what is wrong with the others)."""
    now_ms, backfill = wall_ms(), allows(call.key.scopes, ADMIN)
    telling = call.parts.ingest.telling(call.key, len(items), now_ms)
    places: list[int] = []
    reports: list[Report] = []
    errors: list[IngestError] = []
    for index, item in enumerate(items):
        try:
            if type(item) is dict:
                item = telling.with_own_names(item, "customerReferenceId", "featureKey")
            reports.append(telling.report(read_observe(item, now_ms, backfill=backfill)))
            places.append(index)
        except Refused as error:
            errors.append(IngestError(index=index, error=str(error), code=error.code))
        except CallerFault as error:  # whom the key may not speak for
            errors.append(IngestError(index=index, error=error.message, code=error.code))
    return places, reports, errors


def _batch_answer(
    places: Sequence[int], outcomes: Sequence[Outcome], errors: Sequence[IngestError]
) -> IngestAnswer:
    became = [outcome.became for outcome in outcomes]
    conflicts = [
        IngestError(
            index=place,
            error=f"this idempotencyKey was used for another event, {outcome.event_id}",
            code="idempotency_conflict",
        )
        for place, outcome in zip(places, outcomes, strict=True)
        if outcome.became is Became.CONFLICT
    ]
    told = sorted((*errors, *conflicts), key=lambda error: error.index)
    exceeded = [outcome.exceeded for outcome in outcomes if outcome.became is Became.STORED]
    return IngestAnswer(
        accepted=became.count(Became.STORED),
        duplicates=became.count(Became.DUPLICATE),
        rejected=len(told),
        errors=told,
        usageLimitExceeded=True if any(exceeded) else None if None in exceeded else False,
    )


def _observed(answer: IngestAnswer) -> ObserveAnswer:
    return ObserveAnswer(
        accepted=answer.accepted,
        rejected=answer.rejected + answer.duplicates,
        errors=[ObserveError(index=each.index, error=each.error) for each in answer.errors],
    )


def _event_answer(outcome: Outcome, request_id: str) -> Rendered:
    """201; 200 where a limit is passed; 409 where the key is taken."""
    if outcome.became is Became.STORED:
        answer = EventAnswer(
            event_id=outcome.event_id,
            usage_limit_exceeded=outcome.exceeded,
            message=(
                "The event is stored with its whole cost; a hard limit that it counts on is passed now."
                if outcome.exceeded
                else None
            ),
        )
        return Rendered(200 if outcome.exceeded else 201, body_of(answer, platform=True))
    same = outcome.became is Became.DUPLICATE
    conflict = Conflict(
        "This event was reported before; it is stored once."
        if same
        else "This idempotency key was used for another event.",
        code="duplicate_event" if same else "idempotency_conflict",
        data=EarlierEvent(event_id=outcome.event_id, duplicate=same),
    )
    status, _, body = error_of(conflict, EVENT_PATH, request_id)
    return Rendered(status, body)


def _submitted(call: Call, work: Work) -> Future[Answer]:
    """The answer to come."""
    rendered, answer = call.parts.ingest.submit(work), Future[Answer]()

    def told(done: Future[Rendered]) -> None:
        error = done.exception()
        if error is not None:
            answer.set_exception(error)
            return
        found = done.result()
        headers = {"x-should-retry": "false"} if found.status >= 400 else {}
        if found.replayed:
            headers["Idempotent-Replayed"] = "true"
        answer.set_result(Answer(status=found.status, headers=headers, body=found.body))

    rendered.add_done_callback(told)
    return answer


def _once(key: str | None, what: str, digests: Iterable[str]) -> Once | None:
    """What the request says, whatever its spelling."""
    if key is None:
        return None
    digest = sha256("\n".join((what, *digests)).encode("utf-8", "replace"))
    return Once(key, digest.hexdigest())


def _key_of(call: Call, header: str) -> str | None:
    value = call.headers.get(header, "").strip()
    if not value:
        return None
    if not _HEADER_KEY.match(value):
        raise BadRequest(f"{header}: expected 1 to {KEY_MAX} printable ASCII characters.", param=header)
    return value


BATCH_PATH, EVENT_PATH = "/api/events/ingest", "/api/v1/client/events"
INGEST = (
    Endpoint(
        "POST",
        BATCH_PATH,
        "events.write",
        "Report up to 1,000 events",
        "events",
        ingest,
        answer=BatchAnswer,
        query=IngestQuery,
        body=IngestBody,
        description="Each event is taken or refused by itself, so the answer is 200 also where none was. "
        "Events are never refused for a limit: what they cost is spent. With an `Idempotency-Key` the answer "
        "to a repeated request is the first one's, for 24 hours.",
        bound="own",
        body_bytes_max=BODY_BYTES_MAX,
        refusals={409: "The Idempotency-Key was used for another request, or is being answered"},
    ),
    Endpoint(
        "POST",
        EVENT_PATH,
        "events.write",
        "Report one event",
        "events",
        event,
        answer=EventAnswer,
        body=EventBody,
        status=201,
        body_bytes_max=EVENT_BYTES_MAX,
        description="A repeated report of one key is answered 409 `duplicate_event`, and is stored once.",
        bound="own",
        quick=lambda call: call.body.stripe_customer_id is None,  # whose customer is asked of the database
        refusals={
            404: "No customer is linked with this stripeCustomerId",
            409: "The key has an event already: `duplicate_event`, or `idempotency_conflict`",
        },
        more={200: EventAnswer},
    ),
)
