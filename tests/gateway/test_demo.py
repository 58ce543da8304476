"""`tollkeeper demo`: its plan, its comparison, and one short run of the whole product."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.demo.audit import ESTIMATED, FREE, KNOWN, audit, bill_of, misattributed
from gateway.demo.closing import Evidence, verdicts
from gateway.demo.drive import Answer, Tally
from gateway.demo.keys import make_keys
from gateway.demo.traffic import CUSTOMERS, FEATURES, TROUBLES, Call, plan
from metering.event import CostEvent
from metering.eventstore import EventStore
from metering.money import NANO_PER_USD, usd_to_nano
from reports.figures import cost_report
from reports.question import Question
from tests.serve.conftest import gone, holders

ROOT = Path(__file__).parents[2]
WITHIN_S = 60
PROGRAM = [sys.executable, "-P", "-c", "from gateway.cli import main; main()", "demo"]

# The plan


def test_same_seed_plans_the_same_requests_and_another_seed_others() -> None:
    assert plan(7, 10, 12) == plan(7, 10, 12)
    assert plan(7, 10, 12) != plan(8, 10, 12)


def test_plan_has_its_length_and_rate_and_every_customer_feature_and_trouble() -> None:
    calls = plan(7, 60, 12)
    assert len(calls) == 720
    moments = [call.at_s for call in calls]
    assert moments == sorted(moments)
    assert 0 <= moments[0] < moments[-1] <= 60
    assert {call.customer for call in calls} == {customer.name for customer in CUSTOMERS}
    assert {call.feature for call in calls} == set(FEATURES)
    assert {call.trouble for call in calls} == {None, *(trouble.name for trouble in TROUBLES)}


def test_every_trouble_happens_in_a_few_seconds_too() -> None:
    troubled = [call.trouble for call in plan(1, 4, 12) if call.trouble]
    assert set(troubled) == {trouble.name for trouble in TROUBLES}


def test_hang_ups_are_in_streams_and_before_their_end() -> None:
    leaving = [call for call in plan(3, 30, 12) if call.leaves_after is not None]
    assert leaving
    assert all(call.body["stream"] and 1 <= call.leaves_after < 20 for call in leaving if call.leaves_after)


def test_one_budget_is_too_small_and_the_others_are_ample(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "tollkeeper.db", plan(7, 60, 12))
    small = [key for key in keys if key.short]
    assert [key.customer for key in small] == ["umbrella"]
    assert 0 < small[0].limit.value < NANO_PER_USD
    assert all(key.limit.value >= 5 * NANO_PER_USD for key in keys if not key.short)
    assert all(key.limit.enforcement == "hard" for key in keys)


# The comparison


def event(event_id: str, cost_nano: int | None, **fields: object) -> CostEvent:
    known = {"customer": "acme", "feature": "chat", "key_id": "key_1", "cost_status": "priced", **fields}
    return CostEvent(id=event_id, cost_nano=cost_nano, **known)  # type: ignore[arg-type]


def test_events_that_are_as_billed_are_summed_by_kind_group_and_key() -> None:
    events = [
        event("a", 100),
        event("b", 30, cost_status="estimated", status="cancelled", doubted_nano=20, feature="search"),
        event("c", 0, cost_status="free", status="failed"),
    ]
    found = audit(events, {"a": 100, "b": 50, "c": 0})
    assert [found.mispriced, found.unbounded, found.without_event, found.repeated] == [[], [], [], []]
    assert found.sums_of(KNOWN).billed_nano == 100
    assert found.sums_of(ESTIMATED).difference_nano == -20
    assert found.sums_of(FREE).requests == 1
    assert found.groups["acme", "search"].doubted_nano == 20
    assert (found.keys["key_1"].recorded_nano, found.total.billed_nano) == (130, 150)


@pytest.mark.parametrize("billed_nano", [99, 101])
def test_known_cost_that_is_a_nano_dollar_off_is_found(billed_nano: int) -> None:
    assert audit([event("a", 100)], {"a": billed_nano}).mispriced == ["a"]


def test_known_cost_that_nobody_billed_is_found() -> None:
    assert audit([event("a", 100)], {}).mispriced == ["a"]


@pytest.mark.parametrize("status", ["estimated", "unpriced"])
def test_bill_above_spent_and_doubted_is_found(status: str) -> None:
    unsure = event("a", 100, cost_status=status, doubted_nano=50)
    assert audit([unsure], {"a": 150}).unbounded == []
    assert audit([unsure], {"a": 151}).unbounded == ["a"]


def test_entry_without_event_and_two_events_for_one_entry_are_found() -> None:
    found = audit([event("a", 1), event("a", 1)], {"a": 1, "b": 0})
    assert (found.without_event, found.repeated) == (["b"], ["a"])


def test_event_on_another_customer_or_feature_is_found() -> None:
    events = [event("a", 1), event("b", 1), event("c", 1)]
    asked = {"a": ("acme", "chat"), "b": ("globex", "chat")}
    assert misattributed(events, asked) == ["b"]


def test_bill_is_read_by_request_id() -> None:
    assert bill_of({"requests": [{"id": "a", "nano": 3}, {"id": "b", "nano": 0}]}) == {"a": 3, "b": 0}


def wrong(tmp_path: Path, bill: dict[str, int], *answers: Answer) -> list[str]:
    """What the closing complains of when this is billed for one recorded request, `a`, of 100 nano-USD."""
    recorded = [event("a", 100, outcome="success", started_ms=1)]
    store = EventStore(tmp_path / "tollkeeper.db")
    try:
        store.append(recorded)
        rows = store.cost_by(("customer", "feature"))
    finally:
        store.close()
    tally = Tally()
    for answer in answers:
        tally.note(answer)
    evidence = Evidence(
        tally=tally,
        report=cost_report(Question(("customer", "feature"), 0), rows),
        events=recorded,
        audit=audit(recorded, bill),
        keys=[],
        budgets=[],
        since_ms=0,
        unsettled=None,
    )
    return [verdict.text for verdict in verdicts(evidence) if not verdict.holds]


def test_closing_finds_nothing_wrong_when_all_agrees_and_says_what_does_not(tmp_path: Path) -> None:
    call = Call(0.0, "acme", "chat", "/chat/completions", {}, 0, 0)
    answer = Answer(call, "answered", "a", accepted=True, told_cost="0.0000001")
    assert wrong(tmp_path, {"a": 100}, answer) == []
    assert wrong(tmp_path, {"a": 101}, answer) == ["1 known costs are not what the provider billed: a"]
    assert "have no cost event" in wrong(tmp_path, {"a": 100, "b": 5}, answer)[0]
    assert (
        "told in answer headers are not" in wrong(tmp_path, {"a": 100}, replace(answer, told_cost="0.02"))[0]
    )
    assert (
        "were refused and have one" in wrong(tmp_path, {"a": 100}, answer, replace(answer, accepted=False))[0]
    )
    assert "nobody asked for" in wrong(tmp_path, {"a": 100}, answer, Answer(call, "500 internal_error"))[0]


# The whole


class Run:
    """One `tollkeeper demo` as a process, its output no terminal."""

    def __init__(self, data_dir: Path, process: asyncio.subprocess.Process) -> None:
        self.data_dir = data_dir
        self.process = process

    async def until(self, word: str) -> None:
        """Read its output up to a line with this word."""
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN_S):
            while word not in (line := (await self.process.stdout.readline()).decode()):
                assert line, f"ended before it said {word!r}"

    async def end(self) -> tuple[int, str, str]:
        """Exit code, the rest of its output, and what it complained of."""
        async with asyncio.timeout(WITHIN_S):
            out, complaints = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), complaints.decode()


Start = Callable[..., Awaitable[Run]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts demos on one data directory; whatever still runs at the end is ended."""
    runs: list[Run] = []

    async def start_one(*arguments: str) -> Run:
        data_dir = tmp_path / "data"
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, "--data-dir", str(data_dir), *arguments,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            cwd=tmp_path, start_new_session=True,
        )  # fmt: skip
        runs.append(Run(data_dir, process))
        return runs[-1]

    yield start_one
    for run in runs:
        if run.process.returncode is None:
            run.process.kill()
            await run.process.wait()
        await gone(*holders(run.data_dir))


def amount(row: str, place: int) -> int:
    """An amount of a table's row, in nano-USD."""
    return usd_to_nano(re.findall(r"-?\d+\.\d+", row)[place])


@pytest.mark.wide
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_short_demo_agrees_with_the_bill_and_leaves_nothing_running(start: Start) -> None:
    run = await start("--seconds", "4", "--rate", "12")
    code, out, complaints = await run.end()
    assert (code, complaints) == (0, ""), out
    assert "WRONG" not in out
    assert "on the provider's bill has exactly one cost event" in out
    assert "402 budget_exceeded" in out
    assert "the client hung up" in out
    assert holders(run.data_dir) == []
    margins = out[out.index("Who earned money") :]
    assert re.search(r"^initech +\$99 a month .* -\d+\.\d+ %", margins, re.M), margins
    assert re.search(r"^acme +\$1\.20 for a million tokens ", margins, re.M), margins

    table = out[out.index("Cost by customer and feature") : out.index("How far each cost is known")]
    rows = [line for line in table.splitlines() if re.match(r"(\w+ +\w+|total) +\d+ ", line)]
    store = EventStore(run.data_dir / "tollkeeper.db", create=False)
    try:
        groups = store.cost_by(("customer", "feature"), from_events=True)
        events = store.page(limit=1_000).events
    finally:
        store.close()
    shown = {tuple(row.split()[:2]): amount(row, 0) for row in rows[:-1]}
    assert shown == {group.key: group.cost_nano for group in groups}
    assert amount(rows[-1], 0) == sum(event.cost_nano or 0 for event in events)
    assert sum(amount(row, 1) for row in rows[:-1]) == amount(rows[-1], 1)
    assert amount(rows[-1], 2) == amount(rows[-1], 0) - amount(rows[-1], 1)
    # Not everything can be known exactly, and what cannot stays within the doubt.
    assert {"priced", "estimated", "free"} <= {event.cost_status for event in events}
    assert amount(rows[-1], 1) <= amount(rows[-1], 0) + amount(rows[-1], 3)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_interrupt_before_the_traffic_ends_everything(start: Start) -> None:
    run = await start("--seconds", "60")
    await run.until("Starting Tollkeeper")
    run.process.send_signal(signal.SIGINT)
    code, out, _ = await run.end()
    assert code == 130
    assert "What the clients saw" not in out
    assert holders(run.data_dir) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_interrupt_in_the_traffic_still_compares_what_was_sent(start: Start) -> None:
    run = await start("--seconds", "60", "--rate", "20")
    await run.until(" running ")
    run.process.send_signal(signal.SIGINT)
    code, out, _ = await run.end()
    assert code == 130, out
    assert re.search(r"\(not sent\) +[\d,]+  interrupted", out)
    assert "WRONG" not in out
    assert holders(run.data_dir) == []


async def test_data_of_a_real_installation_is_left_alone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tollkeeper.db").write_bytes(b"")
    code, _, complaints = await (await start()).end()
    assert code == 1
    assert "not the demo's" in complaints
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["tollkeeper.db"]
