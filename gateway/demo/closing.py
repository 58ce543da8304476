"""What the demo says at its end: the tables, and for everything that must hold whether it did. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from budgets.usage import LimitUsage
from gateway.demo.audit import ESTIMATED, FREE, KNOWN, UNKNOWN, Audit, Group, Sums, misattributed
from gateway.demo.drive import ANSWERED, BUDGET_CODES, CUT, LEFT, STREAMED, Answer, Tally
from gateway.demo.keys import DemoKey
from metering.event import CostEvent
from metering.money import nano_to_usd, usd_to_nano
from reports.figures import CostReport
from reports.layout import NOBODY, Column, printable

_KINDS = (KNOWN, ESTIMATED, FREE, UNKNOWN)
_COMMENTS = {
    (KNOWN, "succeeded"): "usage reported by the provider",
    (ESTIMATED, "cancelled"): "client hung up: what had come, counted",
    (ESTIMATED, "cut"): "stream broke off: what had come, counted",
    (ESTIMATED, "failed"): "connection dropped: the prompt, counted",
    (ESTIMATED, "succeeded"): "no usage reported: the answer, counted",
    (FREE, "failed"): "refused by the provider",
}
_PLANNED = {
    ANSWERED,
    STREAMED,
    LEFT,
    CUT,
    "402 budget_exceeded",
    "429 budget_reserved",
    "429 rate_limit_exceeded",
    "502 upstream_error",
    "503 ledger_unavailable",
}
"""Answers that say nothing against the product. A 503 is its word for a ledger too slow to ask: try again."""
_MEANINGS = {
    "402 budget_exceeded": "no room in the budget: not forwarded",
    "429 budget_reserved": "running requests hold the budget: not forwarded",
    "429 rate_limit_exceeded": "the provider's own refusal",
    "502 upstream_error": "the provider failed",
    "503 ledger_unavailable": "the ledger did not answer in time: try again",
    LEFT: "in the middle of a stream",
    CUT: "and an error event said so",
}
NAMED = 3
"""So many ids are named where something is wrong."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the closing is drawn from. `unsettled` says what was waited for in vain, if anything."""

    tally: Tally
    report: CostReport
    events: Sequence[CostEvent]
    audit: Audit
    keys: Sequence[DemoKey]
    budgets: Sequence[LimitUsage]
    since_ms: int
    unsettled: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that must hold, and whether it did."""

    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """A table with its title. The last row is a total where `total` is set."""

    title: str
    columns: Sequence[Column]
    total: bool = True


def sections(evidence: Evidence) -> list[Section]:
    """The tables, in order."""
    return [
        Section("What the clients saw", _outcomes(evidence.tally)),
        Section("Budgets, as the ledger counts them", _budgets(evidence), total=False),
        Section(
            "Cost by customer and feature, beside the provider's own bill (diff. = cost - billed)",
            _groups(evidence),
        ),
        Section("How far each cost is known", _certainty(evidence.audit)),
    ]


def verdicts(evidence: Evidence) -> list[Verdict]:
    """Everything that must hold."""
    audit, tally = evidence.audit, evidence.tally
    known, estimated = audit.sums_of(KNOWN), audit.sums_of(ESTIMATED)
    found = [] if evidence.unsettled is None else [Verdict(False, evidence.unsettled)]
    found += [
        _verdict(
            [*audit.without_event, *audit.repeated],
            f"each of the {audit.entries:,} entries on the provider's bill has exactly one cost event",
            "entries on the provider's bill have no cost event, or several",
        ),
        _verdict(
            audit.mispriced,
            f"known costs ({known.requests:,}) are the billed amounts to the nano-dollar: "
            f"${nano_to_usd(known.recorded_nano)} = ${nano_to_usd(known.billed_nano)}",
            "known costs are not what the provider billed",
        ),
        _verdict(
            audit.unbounded,
            f"estimated costs ({estimated.requests:,}) bound the bill one by one: billed "
            f"${nano_to_usd(estimated.billed_nano)} <= spent ${nano_to_usd(estimated.recorded_nano)} "
            f"+ doubted ${nano_to_usd(estimated.doubted_nano)}",
            "requests were billed more than spent + doubted",
        ),
        _attribution(evidence),
        _told_costs(evidence),
        _report_total(evidence),
        *_ledger(evidence),
    ]
    if not any(answer.accepted for answer in tally.answers):
        found.append(Verdict(False, "no request was accepted, so nothing was compared"))
    odd = {name: count for name, count in tally.outcomes.items() if name not in _PLANNED}
    if odd:
        listed = ", ".join(f"{count} x {name}" for name, count in odd.items())
        example = next(a.complaint for a in tally.answers if a.outcome in odd)
        found.append(Verdict(False, f"answers that nobody asked for: {listed} ({example})"))
    return found


def _verdict(wrong: Sequence[str], right: str, complaint: str) -> Verdict:
    if not wrong:
        return Verdict(True, right)
    named = ", ".join(wrong[:NAMED]) + (", ..." if len(wrong) > NAMED else "")
    return Verdict(False, f"{len(wrong):,} {complaint}: {named}")


def _attribution(evidence: Evidence) -> Verdict:
    """Every accepted request has an event on whoever asked, and no refused one has any."""
    asked: dict[str, Group] = {}
    recorded = {event.id for event in evidence.events}
    wrong = []
    for answer in evidence.tally.answers:
        if answer.request_id is None:
            continue
        asked[answer.request_id] = (answer.call.customer, answer.call.feature)
        if answer.accepted is not None and answer.accepted is not (answer.request_id in recorded):
            wrong.append(answer.request_id)
    return _verdict(
        [*wrong, *misattributed(evidence.events, asked)],
        "every accepted request has its event, on the customer and feature that asked; no refused one has",
        "requests have no event, or one on somebody else, or were refused and have one",
    )


def _told_costs(evidence: Evidence) -> Verdict:
    costs = {event.id: event.cost_nano for event in evidence.events}
    told = [answer for answer in evidence.tally.answers if answer.told_cost not in (None, "unknown")]
    wrong = [
        answer.request_id or "?"
        for answer in told
        if usd_to_nano(answer.told_cost or "") != costs.get(answer.request_id or "")
    ]
    return _verdict(
        wrong,
        f"costs told in answer headers ({len(told):,}) are those of the events",
        "costs told in answer headers are not those of the events",
    )


def _report_total(evidence: Evidence) -> Verdict:
    reported, recorded = evidence.report.total.sums, evidence.audit.total
    if (reported.events, reported.cost_nano) == (recorded.requests, recorded.recorded_nano):
        return Verdict(True, f"the report's total is the sum of its {reported.events:,} events")
    return Verdict(
        False,
        f"the report counts {reported.events:,} events and ${nano_to_usd(reported.cost_nano)}, the events "
        f"themselves are {recorded.requests:,} and ${nano_to_usd(recorded.recorded_nano)}",
    )


def _ledger(evidence: Evidence) -> list[Verdict]:
    """No budget was passed, and the ledger counts what the events say, unless a window began meanwhile."""
    passed, differing, compared = [], [], 0
    for key, budget in zip(evidence.keys, evidence.budgets, strict=True):
        if budget.spent + budget.doubted > budget.value:
            passed.append(key.customer)
        if budget.window.start_ms > evidence.since_ms:
            continue
        compared += 1
        sums = evidence.audit.keys.get(key.key_id, Sums())
        if (budget.spent, budget.doubted) != (sums.recorded_nano, sums.doubted_nano):
            differing.append(key.customer)
    return [
        _verdict(
            passed, "no budget was passed: spent + doubted <= limit on every key", "budgets were passed"
        ),
        _verdict(
            differing,
            f"the ledger counts on {compared} keys what their events say, spent and doubted",
            "customers' counters in the ledger are not what their events say",
        ),
    ]


def _outcomes(tally: Tally) -> list[Column]:
    rows = [(name, f"{count:,}", _MEANINGS.get(name, "")) for name, count in tally.outcomes.most_common()]
    if tally.unsent:
        rows.append(("(not sent)", f"{tally.unsent:,}", tally.unsent_reason))
    total = ("total", f"{sum(tally.outcomes.values()) + tally.unsent:,}", "")
    return _columns(("answer", "requests", ""), [*rows, total], left=(0, 2))


def _budgets(evidence: Evidence) -> list[Column]:
    rows, amounts = [], []
    for key, budget in zip(evidence.keys, evidence.budgets, strict=True):
        refused = sum(
            answer.call.customer == key.customer and answer.outcome.endswith(BUDGET_CODES)
            for answer in evidence.tally.answers
        )
        rows.append((key.customer, key.limit.window, f"{refused:,}", "meant to run out" if key.short else ""))
        amounts.append((budget.value, budget.spent, budget.doubted, budget.remaining))
    names = _columns(("customer", "budget per", "refused", ""), rows, left=(0, 1, 3))
    money = _money(("budget $", "spent $", "in doubt $", "left $"), amounts)
    return [*names[:2], *money, *names[2:]]


def _groups(evidence: Evidence) -> list[Column]:
    """The report's rows, with the bill of the same requests."""
    rows, amounts = [], []
    for row in evidence.report.rows:
        customer, feature = row.key
        sums = evidence.audit.groups.get((customer, feature), Sums())
        rows.append((printable(customer or NOBODY), printable(feature or NOBODY), f"{row.sums.events:,}"))
        amounts.append(
            (row.sums.cost_nano, sums.billed_nano, row.sums.cost_nano - sums.billed_nano, sums.doubted_nano)
        )
    total, whole = evidence.report.total.sums, evidence.audit
    rows.append(("total", "", f"{total.events:,}"))
    amounts.append(
        (
            total.cost_nano,
            whole.billed_nano,
            total.cost_nano - whole.billed_nano,
            whole.total.doubted_nano,
        )
    )
    names = _columns(("customer", "feature", "events"), rows, left=(0, 1))
    return [*names, *_money(("cost $", "billed $", "diff. $", "in doubt $"), amounts)]


def _certainty(audit: Audit) -> list[Column]:
    ordered = sorted(audit.kinds.items(), key=lambda item: (_KINDS.index(item[0][0]), -item[1].requests))
    rows = [
        (kind, status, f"{sums.requests:,}", _COMMENTS.get((kind, status), ""))
        for (kind, status), sums in ordered
    ]
    rows.append(("total", "", f"{audit.total.requests:,}", ""))
    amounts = [_amounts(sums) for _, sums in ordered] + [_amounts(audit.total)]
    names = _columns(("cost is", "status", "events", ""), rows, left=(0, 1, 3))
    money = _money(("cost $", "billed $", "diff. $", "in doubt $"), amounts)
    return [*names[:3], *money, names[3]]


def _amounts(sums: Sums) -> tuple[int, int, int, int]:
    return (sums.recorded_nano, sums.billed_nano, sums.difference_nano, sums.doubted_nano)


def _columns(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: Iterable[int]) -> list[Column]:
    kept = set(left)
    return [
        Column(head, tuple(row[number] for row in rows), right=number not in kept)
        for number, head in enumerate(heads)
    ]


def _money(heads: Sequence[str], rows: Sequence[Sequence[int]]) -> list[Column]:
    """Columns of dollars to the last digit, with as many places as the finest amount needs."""
    places = max((len(nano_to_usd(nano).partition(".")[2]) for row in rows for nano in row), default=2)
    return [
        Column(head, tuple(_dollars(row[number], places) for row in rows))
        for number, head in enumerate(heads)
    ]


def _dollars(nano: int, places: int) -> str:
    whole, _, fraction = nano_to_usd(nano).partition(".")
    return f"{whole}.{fraction:0<{places}}"


def accepted_ids(answers: Iterable[Answer], bill: Mapping[str, int]) -> list[str]:
    """Ids of requests that must have an event: those that a client or the provider knows to be accepted."""
    told = {answer.request_id for answer in answers if answer.accepted and answer.request_id}
    return sorted(told | set(bill))
