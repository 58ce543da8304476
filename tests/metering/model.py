"""The record as a plain program: what events, adjustments and outcomes make of it, however they came."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from metering.adjustment import Adjustment, deltas
from metering.event import CostEvent
from metering.outcome import Outcome
from metering.rollup import CORRECTED, MEASURES, measured

Facts = dict[str, int]


def name_of(event: CostEvent, column: str) -> str:
    """The event's name in a column of the record."""
    return getattr(event, "route_final" if column == "route" else column) or ""


@dataclass
class Record:
    """The first of each id counts."""

    events: dict[str, CostEvent] = field(default_factory=dict)
    adjustments: dict[str, Adjustment] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def add(self, item: CostEvent | Adjustment | Outcome) -> None:
        """What comes."""
        if isinstance(item, CostEvent):
            self.events.setdefault(item.id, item)
        elif isinstance(item, Adjustment):
            self.adjustments.setdefault(item.id, item)
        else:
            self.outcomes.setdefault(item.id, item)

    def task_of(self, event: CostEvent) -> tuple[str, str]:
        """Account and task."""
        return event.account_id, event.task

    def tasks(self) -> Mapping[tuple[str, str], list[CostEvent]]:
        """The events of each task, in their order."""
        found: dict[tuple[str, str], list[CostEvent]] = {}
        for each in sorted(self.events.values(), key=lambda event: (event.started_ms, event.id)):
            found.setdefault(self.task_of(each), []).append(each)
        return found

    def outcome_of(self, task: tuple[str, str]) -> str:
        """What counts for the task."""
        said = [each for each in self.outcomes.values() if (each.account_id, each.task_id) == task]
        if said:
            return max(said, key=lambda each: (each.at_ms, each.id)).outcome
        return self.tasks()[task][-1].outcome

    def facts(self) -> dict[str, Facts]:
        """The measures of each event: corrected, and with the task where the event is its home."""
        found: dict[str, Facts] = {}
        for event in self.events.values():
            facts = dict(zip(MEASURES, measured(event), strict=True))
            facts["tasks"] = facts["task_successes"] = 0
            for each in self.adjustments.values():
                if (each.event_id, each.account_id) == (event.id, event.account_id):
                    for name, more in zip(CORRECTED, deltas(each), strict=True):
                        facts[name] += more
            found[event.id] = facts
        for task, members in self.tasks().items():
            home = found[members[0].id]
            home["tasks"] = 1
            home["task_successes"] = int(self.outcome_of(task) == "success")
        return found

    def sums(
        self,
        columns: Sequence[str],
        account_id: str = "default",
        since_ms: int = 0,
        until_ms: int | None = None,
    ) -> dict[tuple[str, ...], Facts]:
        """Summed measures of the requests begun in the span, by columns of the record."""
        found: dict[tuple[str, ...], Facts] = {}
        for event_id, facts in self.facts().items():
            event = self.events[event_id]
            inside = since_ms <= event.started_ms and (until_ms is None or event.started_ms < until_ms)
            if inside and event.account_id == account_id:
                key = tuple(name_of(event, column) for column in columns)
                found[key] = added(found.get(key, dict.fromkeys(MEASURES, 0)), facts)
        return found


def added(one: Facts, other: Facts) -> Facts:
    """The sums of both."""
    return {name: one[name] + other[name] for name in MEASURES}


def total(of: Iterable[Facts]) -> Facts:
    """The sums of all."""
    found = dict.fromkeys(MEASURES, 0)
    for each in of:
        found = added(found, each)
    return found
