"""Tasks: the unit of work that cost is asked about, made of one event or of many. Pure.

A task is what a client named in several requests, else a request is its own task. It counts once, where its
first event lies (its home), and it is a success when its outcome is: the one that was given for it, else that
of its final event. First and final are by the moment of the start, and by id within one millisecond. All of
this follows from the set of events and of given outcomes, so that it is the same however they arrived.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

SUCCESS = "success"

HOME_NAMES = ("key_id", "customer", "workspace", "feature", "plan", "provider", "model", "route")
"""By what a task is told apart: the names of its first event. "" is absence."""


class Member(NamedTuple):
    """An event as its task sees it. `names` are those of HOME_NAMES."""

    event_id: str
    started_ms: int
    outcome: str
    names: tuple[str, ...]

    @property
    def place(self) -> tuple[int, str]:
        """By what the events of a task are ordered."""
        return self.started_ms, self.event_id


class Given(NamedTuple):
    """An outcome that was given for a task. Of several the latest counts."""

    at_ms: int
    id: str
    outcome: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A task as far as it is known: its first event, what its final one says, and what was said of it.

    `home` None: no event of it is here yet. `final` is the place and the outcome of the final event.
    """

    home: Member | None = None
    final: tuple[int, str, str] | None = None
    given: Given | None = None

    @property
    def outcome(self) -> str | None:
        """What became of it; None while neither an event nor an outcome is here."""
        if self.given is not None:
            return self.given.outcome
        return None if self.final is None else self.final[2]

    @property
    def counts(self) -> tuple[int, int]:
        """What it adds to the measures `tasks` and `task_successes` at its home."""
        if self.home is None:
            return 0, 0
        return 1, 1 if self.outcome == SUCCESS else 0


class Change(NamedTuple):
    """What must be added to the two measures where this event lies."""

    home: Member
    tasks: int
    successes: int


def with_events(task: Task, members: Iterable[Member]) -> Task:
    """The task with these events too."""
    home, final = task.home, task.final
    for each in members:
        if home is None or each.place < home.place:
            home = each
        if final is None or each.place > final[:2]:
            final = (*each.place, each.outcome)
    return replace(task, home=home, final=final)


def with_outcome(task: Task, given: Given) -> Task:
    """The task of which this was said too."""
    if task.given is not None and (task.given.at_ms, task.given.id) >= (given.at_ms, given.id):
        return task
    return replace(task, given=given)


def alone(member: Member) -> Task:
    """The task that an event is by itself."""
    return with_events(Task(), [member])


def changes(old: Task, new: Task) -> list[Change]:
    """What the sums must change by when the task becomes what it is now: at most two places."""
    found: list[Change] = []
    if old.home is not None and new.home is not None and old.home.event_id == new.home.event_id:
        (was, won), (is_now, wins) = old.counts, new.counts
        found.append(Change(new.home, is_now - was, wins - won))
    else:
        if old.home is not None:
            found.append(Change(old.home, -old.counts[0], -old.counts[1]))
        if new.home is not None:
            found.append(Change(new.home, *new.counts))
    return [each for each in found if each.tasks or each.successes]
