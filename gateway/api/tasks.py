"""Tasks: the units of work that cost is asked about, and what became of them.

GET  /api/tasks                        those that requests named, or that were given an outcome
GET  /api/tasks/{task}                 one; a request that named none is a task by its own id
POST /api/tasks/{task}/outcome         what became of it, as the app or a person says
POST /api/v1/tasks/{task}/outcome      the same with the platform's envelope
"""

from __future__ import annotations

from time import time
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from gateway.api.cursor import Part, decode_cursor, encode_cursor
from gateway.api.endpoint import Call, Endpoint
from gateway.api.events import LOOKED_AT_MAX, visible
from gateway.api.fields import (
    Asked,
    Moment,
    MomentText,
    Name,
    Nano,
    Paged,
    Told,
    ToldCamel,
    Usd,
    moment_text,
    money,
)
from gateway.api.owntasks import own_tasks
from gateway.errors import BadRequest, NotFound
from metering.eventstore import TaskRow
from metering.ids import new_id
from metering.outcome import Outcome

TAG = "tasks"
READ, WRITE = "events.read", "events.write"
NAME_MAX = 128
Word = Literal["success", "failure", "rejected", "unknown"]


class TasksAsked(Paged):
    """Filters are exact, and all of them hold; names are those of a task's first event."""

    customer_id: Name | None = None
    feature_key: Name | None = None
    outcome: Word | None = None
    date_from: Annotated[Moment | None, Field(description="Begun then or later")] = None
    date_to: Annotated[Moment | None, Field(description="Begun before then")] = None


class TaskShown(Told):
    """One task with the sums of all its events."""

    task_id: str
    started_at: MomentText | None = Field(description="null: an outcome was given, and no event is here yet")
    last_at: MomentText | None = Field(description="When its last event began")
    customer_id: str | None = Field(description="Names are those of its first event")
    feature_key: str | None
    workspace: str | None
    plan: str | None
    key_id: str | None
    provider: str | None
    model: str | None
    route: str | None
    outcome: str | None = Field(description="What counts: the one given last, else its last event's")
    outcome_given: bool
    outcome_reason: str | None
    event_count: int
    attempt_count: int
    input_tokens: int
    output_tokens: int
    cost: Usd = Field(description="What is known of it")
    cost_nano: Nano
    unpriced_events: int
    wasted: Usd
    wasted_nano: Nano
    revenue: Usd | None
    revenue_nano: Nano | None
    revenue_reason: str | None


class OutcomeShown(Told):
    """One outcome that was given."""

    outcome: str
    reason: str | None
    at: MomentText


class TaskDetail(TaskShown):
    """One task with everything that was said of it."""

    outcomes: list[OutcomeShown] = Field(description="The latest last")


class TasksTold(Told):
    """A page of tasks."""

    tasks: list[TaskShown]
    limit: int
    next_cursor: str | None = Field(description="null at the end. A page may have fewer tasks than `limit`")


class OutcomeGiven(Asked):
    """What became of a task."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"outcome": "failure", "reason": "the summary missed the question"}]},
    )

    outcome: Word
    reason: Annotated[str | None, Field(max_length=500, pattern=r"^[^\x00]*$")] = None


class OutcomeTaken(Told):
    """What counts from now on."""

    task_id: str
    outcome: str
    reason: str | None
    pending: bool = Field(description="No event of this task is here yet; it counts as soon as one is")


class OutcomeTakenCamel(ToldCamel):
    """What counts from now on."""

    task_id: str
    outcome: str
    reason: str | None
    pending: bool


def list_tasks(call: Call) -> TasksTold:
    """A page of the account's tasks."""
    asked: TasksAsked = call.query
    customer = asked.customer_id or call.bound_customer
    feature = asked.feature_key or call.bound_feature
    if not visible(call, customer, feature):
        return TasksTold(tasks=[], limit=asked.limit, next_cursor=None)
    listed: tuple[Part, ...] = (
        *("tasks", call.account_id, customer, feature, asked.outcome, asked.date_from, asked.date_to),
    )
    place = None if asked.cursor is None else str(decode_cursor(listed, asked.cursor, (str,))[0])
    page = call.parts.events.tasks(
        before=place,
        limit=asked.limit,
        account_id=call.account_id,
        since_ms=asked.date_from or 0,
        until_ms=asked.date_to,
        most=LOOKED_AT_MAX,
        customer=customer,
        feature=feature,
        outcome=asked.outcome,
    )
    own = own_tasks(call, [each.task_id for each in page.tasks])
    return TasksTold(
        tasks=[TaskShown(**_shown(each)) for each in page.tasks if each.task_id in own],
        limit=asked.limit,
        next_cursor=None if page.older is None else encode_cursor(listed, (page.older,)),
    )


def show_task(call: Call) -> TaskDetail:
    """One task; another account's is not found, as one that does not exist."""
    task_id = call.path["task"]
    row = call.parts.events.task(task_id, call.account_id)
    if row is None or not _visible(call, row):
        raise NotFound("No such task.")
    said = call.parts.events.outcomes_of(task_id, call.account_id)
    outcomes = [
        OutcomeShown(outcome=each.outcome, reason=each.reason, at=moment_text(each.at_ms) or "")
        for each in said
    ]
    return TaskDetail(**_shown(row), outcomes=outcomes)


def give_outcome(call: Call) -> OutcomeTaken:
    """Note what became of a task, in place of what its last event says."""
    return OutcomeTaken(**_given(call))


def give_outcome_camel(call: Call) -> OutcomeTakenCamel:
    """The same for platform clients."""
    return OutcomeTakenCamel(**_given(call))


def _visible(call: Call, row: TaskRow) -> bool:
    """Whether the asking key may know of this task."""
    if not visible(call, row.names["customer"], row.names["feature"]):
        return False
    return bool(own_tasks(call, [row.task_id]))


def _given(call: Call) -> dict[str, object]:
    given: OutcomeGiven = call.body
    task_id = call.path["task"]
    if len(task_id) > NAME_MAX or not all("!" <= letter <= "~" for letter in task_id):
        raise BadRequest(f"A task's name is 1 to {NAME_MAX} visible ASCII characters.", param="task")
    store = call.parts.events
    known = store.task(task_id, call.account_id)
    bound = call.bound_customer is not None or call.bound_feature is not None
    if bound and (known is None or not _visible(call, known)):
        raise NotFound("No such task.")
    now_ms = int(time() * 1_000)
    said = Outcome(new_id(), call.account_id, task_id, given.outcome, now_ms, given.reason)
    store.append_outcomes([said])
    return {
        "task_id": task_id,
        "outcome": given.outcome,
        "reason": given.reason,
        "pending": known is None or known.first_ms is None,
    }


def _shown(row: TaskRow) -> dict[str, object]:
    sums, names = row.sums, row.names
    revenue = sums["revenue_nano"] if sums["revenue_known"] else None
    return {
        "task_id": row.task_id,
        "started_at": moment_text(row.first_ms),
        "last_at": moment_text(row.last_ms),
        "customer_id": names["customer"] or None,
        "feature_key": names["feature"] or None,
        **{
            name: names[name] or None
            for name in ("workspace", "plan", "key_id", "provider", "model", "route")
        },
        "outcome": row.outcome or None,
        "outcome_given": row.given,
        "outcome_reason": row.reason,
        "event_count": sums["events"],
        "attempt_count": sums["attempts"],
        "input_tokens": sums["input_tokens"],
        "output_tokens": sums["output_tokens"],
        **money(cost=sums["cost_nano"], wasted=sums["wasted_nano"], revenue=revenue),
        "unpriced_events": sums["unpriced"],
        "revenue_reason": None if revenue is not None else "no_revenue_known",
    }


TASKS = (
    Endpoint(
        "GET",
        "/api/tasks",
        READ,
        "Tasks, the newest first",
        TAG,
        list_tasks,
        answer=TasksTold,
        query=TasksAsked,
        description="Those that requests named with Observe-Task-Id, that were reported with a task, or that "
        "were given an outcome. A request that named none is a task by itself: find it among the events.",
        bound="own",
    ),
    Endpoint(
        "GET",
        "/api/tasks/{task}",
        READ,
        "One task with everything that was said of it",
        TAG,
        show_task,
        answer=TaskDetail,
        bound="own",
    ),
    Endpoint(
        "POST",
        "/api/tasks/{task}/outcome",
        WRITE,
        "What became of a task",
        TAG,
        give_outcome,
        answer=OutcomeTaken,
        body=OutcomeGiven,
        description="Counts in place of what the task's last event says; of several the latest counts. May "
        "come before any event of the task does.",
        bound="own",
        writes=True,
    ),
    Endpoint(
        "POST",
        "/api/v1/tasks/{task}/outcome",
        WRITE,
        "What became of a task",
        TAG,
        give_outcome_camel,
        answer=OutcomeTakenCamel,
        body=OutcomeGiven,
        bound="own",
        writes=True,
    ),
)
