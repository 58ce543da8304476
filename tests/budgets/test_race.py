"""Many processes spend one budget at once: never a nano-dollar too much, never one lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from budgets.limit import Limit
from budgets.names import names_of
from budgets.scripts import Script
from budgets.slots import slot_of
from budgets.wire import Argument
from tests.budgets.conftest import Servers, start_engine
from tests.budgets.racer import Budget, Race, Told, race
from tests.budgets.server import Server, engine_binary, running_server
from tests.budgets.world import ACCOUNT, World

on_a_server = pytest.mark.parametrize(
    "shared_server",
    ["valkey", pytest.param("redis", marks=[pytest.mark.debian, pytest.mark.slow])],
    indirect=True,
)

PROCESSES = 4
OPENINGS = 10_000
USD = 10**9
OTHER = "other"
"""An account on another shard, whose slot lies on another node of three."""


SAMPLES_PER_VALUE = 20


class NoConnection:
    """For a world whose own ledger is not used."""

    def script(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Any]:
        raise AssertionError("races have connections of their own")

    def run_id_for(self, key: str) -> str:
        raise AssertionError("races have connections of their own")


@dataclass
class Arena:
    """A budget of one account, and what was seen of it while the race ran."""

    world: World
    budget: Budget
    hard: Limit
    samples: int = 0
    highest: int = 0

    def look(self) -> int:
        """What is spent, held and doubted now; read in one step."""
        total = sum(self.world.counters(self.hard))
        self.samples += 1
        self.highest = max(self.highest, total)
        return total


def arena(server: Server | Servers, dollars: int, account: str = ACCOUNT) -> Arena:
    world = World(server.client, NoConnection(), account=account)
    world.make_whole(run_id=run_id_of(server, account))
    world.put_key()
    hard = world.limit(dollars * USD)
    world.limit(10**6, kind="requests", scope="account", window="lifetime")
    world.limit(5, enforcement="soft", window="day", kind="tokens")
    return Arena(world, Budget(server.url, world.of, tuple(world.limits), isinstance(server, Servers)), hard)


def run_id_of(server: Server | Servers, account: str) -> str:
    if isinstance(server, Servers):
        server = server.cluster.owner(slot_of(names_of(account).meta))
    return str(server.client.info("server")["run_id"])


def run(arenas: list[Arena], watch: Callable[[], None], **how: Any) -> list[Told]:
    """Race from four processes, watching all the while; what they were told of each budget."""
    what = Race(tuple(each.budget for each in arenas), OPENINGS // PROCESSES // len(arenas), **how)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(race, what, number) for number in range(PROCESSES)]
        while not all(each.done() for each in runs):
            watch()
        told = [each.result() for each in runs]
    return [sum_of([each[place] for each in told]) for place in range(len(arenas))]


def sum_of(told: list[Told]) -> Told:
    return Told(
        sum((each.answers for each in told), Counter()),
        sum(each.spent for each in told),
        sum(each.doubted for each in told),
        min(each.least_remaining for each in told),
        sum(each.repeated_closes for each in told),
    )


def judge(what: str, arena: Arena, told: Told, began: float) -> None:
    """Nothing overshot, nothing lost, nothing left; one line says how it went."""
    world, hard = arena.world, arena.hard
    spent, reserved, doubted = world.counters(hard)
    events = world.outbox()
    opens = sum(told.answers.values())
    print(
        f"\n{what}: {opens} opens in {time.monotonic() - began:.1f} s, {dict(told.answers)}; "
        f"spent {spent} + doubted {doubted} of {hard.value} nano-USD, highest of {arena.samples} samples "
        f"{arena.highest}, overshoot {max(0, arena.highest - hard.value)}; sum of {len(events)} events "
        f"{sum(event['cost_nano'] for event in events)}; reserved {reserved}"
    )
    granted = told.answers["OK"]
    assert arena.highest <= hard.value
    assert told.least_remaining >= 0
    assert (spent, reserved, doubted) == (told.spent, 0, told.doubted)
    assert len(events) == len({event["id"] for event in events}) == granted
    assert sum(event["cost_nano"] for event in events) == spent
    assert sum(event.get("doubted_nano", 0) for event in events) == doubted
    count, soft = world.limits[1:]
    assert world.counters(count) == (granted, 0, 0)
    assert world.counters(soft) == (250 * granted, 0, 0)
    assert world.redis.zcard(world.names.leases) == 0


@on_a_server
def test_ten_thousand_openings_at_once_do_not_overshoot_one_dollar(server: Server) -> None:
    stage, began = arena(server, 1), time.monotonic()
    (told,) = run([stage], lambda: watch(stage), together=True)
    judge("one dollar, all at once", stage, told, began)
    assert sum(told.answers.values()) == OPENINGS
    assert told.answers["BUSY"] > 1_000
    assert stage.highest >= 0.99 * USD


@pytest.mark.slow
@on_a_server
def test_one_dollar_is_spent_to_the_end_and_not_beyond(server: Server) -> None:
    stage, began = arena(server, 1), time.monotonic()
    (told,) = run([stage], lambda: watch(stage))
    judge("one dollar", stage, told, began)
    assert sum(told.answers.values()) >= OPENINGS
    assert told.answers["EXHAUSTED"] > 0
    assert told.repeated_closes > 0
    assert told.spent + told.doubted >= 0.999 * USD


@on_a_server
def test_values_that_change_while_it_runs_hold_at_once(server: Server) -> None:
    stage, began = arena(server, 1), time.monotonic()
    changes = Changes([stage])
    (told,) = run([stage], changes.watch)
    judge("one dollar, its value changed ten times", stage, told, began)
    assert changes.made == 10
    assert told.spent + told.doubted >= 0.999 * USD


@on_a_server
def test_two_nodes_keep_their_accounts_budgets_while_values_change(server: Server, tmp_path: Path) -> None:
    with running_server(engine_binary(), tmp_path) as second:
        race_on_two_nodes("two servers", [arena(server, 1), arena(second, 1, OTHER)])


@pytest.mark.slow
def test_two_nodes_of_a_cluster_keep_their_accounts_budgets_while_values_change(tmp_path: Path) -> None:
    cluster = start_engine("cluster", tmp_path)
    assert isinstance(cluster, Servers)
    try:
        nodes = {cluster.cluster.owner(slot_of(names_of(name).meta)).port for name in (ACCOUNT, OTHER)}
        assert len(nodes) == 2
        race_on_two_nodes("two nodes of a cluster", [arena(cluster, 1), arena(cluster, 1, OTHER)])
    finally:
        cluster.stop()


def race_on_two_nodes(what: str, stages: list[Arena]) -> None:
    began = time.monotonic()
    changes = Changes(stages)
    told = run(stages, changes.watch)
    for stage, each in zip(stages, told, strict=True):
        judge(f"{what}, {stage.world.account}, its value changed ten times", stage, each, began)
        assert each.spent + each.doubted >= 0.999 * USD
    assert changes.made == 10


@on_a_server
def test_ten_thousand_calls_of_a_twenty_fifth_of_a_cent_exhaust_four_dollars_exactly(server: Server) -> None:
    stage, began = arena(server, 4), time.monotonic()
    (told,) = run([stage], lambda: watch(stage), cost_nano=400_000)  # and ask until nothing is left
    judge("four dollars in calls of $0.0004", stage, told, began)
    assert told.answers["OK"] == OPENINGS
    assert stage.world.counters(stage.hard) == (4 * USD, 0, 0)
    assert told.answers["EXHAUSTED"] > 0


def watch(stage: Arena) -> None:
    stage.look()
    time.sleep(0.001)


class Changes:
    """Ten other values, set while it runs, the last one the first again."""

    def __init__(self, stages: list[Arena]) -> None:
        self.made = 0
        self._stages = stages
        self._values = iter((700, 300, 900, 50, 500, 20, 800, 650, 400, 1_000))
        self._most = dict.fromkeys((stage.hard.id for stage in stages), USD)
        self._due = 0

    def watch(self) -> None:
        for stage in self._stages:
            # What is there at a change may be above the new value, but then it only goes down.
            assert stage.look() <= self._most[stage.hard.id]
        time.sleep(0.001)
        started = all(stage.highest for stage in self._stages)
        if started and self.made < 10 and self._stages[0].samples >= self._due:
            self._change()

    def _change(self) -> None:
        self.made += 1
        value = next(self._values) * USD // 1_000
        for stage in self._stages:
            stage.world.set_value(stage.hard, value)
            self._most[stage.hard.id] = max(value, stage.look())
        self._due = self._stages[0].samples + SAMPLES_PER_VALUE
