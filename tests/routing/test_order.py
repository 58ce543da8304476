"""The order of targets, policy by policy."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest

from routing.circuit import State
from routing.order import Facts, Policy, arrange, healthy_first, ranks
from routing.target import Target

TARGETS = (
    Target("a", "m", "a", weight=3),
    Target("b", "m", "b", weight=1),
    Target("c", "m", "c", weight=0),
)
COSTS = {"a": 300, "b": None, "c": 100}
TIMES = {"a": None, "b": 0.5, "c": 0.2}


def facts(draw: Callable[[], float] = lambda: 0.5, sticky: str | None = None) -> Facts:
    return Facts(draw, lambda target: COSTS[target.provider], lambda target: TIMES[target.provider], sticky)


def order(policy: Policy, given: Facts) -> str:
    return "".join(TARGETS[n].provider for n in arrange(TARGETS, ranks(policy, TARGETS, given)))


@pytest.mark.parametrize(("policy", "expected"), [("listed", "abc"), ("cheapest", "cab"), ("fastest", "cba")])
def test_what_needs_no_luck(policy: Policy, expected: str) -> None:
    assert order(policy, facts()) == expected


def test_priority_goes_before_every_policy() -> None:
    targets = (Target("a", "m", "a", priority=1), Target("b", "m", "b"), Target("c", "m", "c", priority=1))
    assert arrange(targets, [0.0, 9.0, -1.0]) == [1, 2, 0]


def test_a_weight_is_a_share_of_first_places_and_0_is_none() -> None:
    rng = random.Random(7)
    firsts = Counter(order("weighted", facts(rng.random))[0] for _ in range(4_000))
    assert set(firsts) == {"a", "b"}
    assert 0.72 < firsts["a"] / 4_000 < 0.78


def test_a_sticky_caller_keeps_its_targets_and_weights_hold_over_all_callers() -> None:
    assert len({order("sticky", facts(random.random, "acme")) for _ in range(20)}) == 1
    firsts = Counter(order("sticky", facts(sticky=f"customer-{n}"))[0] for n in range(4_000))
    assert set(firsts) == {"a", "b"}
    assert 0.72 < firsts["a"] / 4_000 < 0.78


def test_when_a_target_goes_only_its_own_callers_move() -> None:
    three = tuple(Target(name, "m", name) for name in "abc")
    for n in range(500):
        given = facts(sticky=f"customer-{n}")
        before = three[arrange(three, ranks("sticky", three, given))[0]]
        two = tuple(target for target in three if target.provider != "c")
        after = two[arrange(two, ranks("sticky", two, given))[0]]
        assert before.provider == "c" or after == before


def test_without_someone_to_recognise_a_sticky_route_draws_by_weight() -> None:
    rng = random.Random(7)
    assert {order("sticky", facts(rng.random))[0] for _ in range(100)} == {"a", "b"}


def test_one_request_in_twenty_explores_a_fastest_route() -> None:
    rng = random.Random(7)
    firsts = Counter(order("fastest", facts(rng.random))[0] for _ in range(4_000))
    assert 0.93 < firsts["c"] / 4_000 < 0.99
    assert firsts["a"] > 0
    assert firsts["b"] > 0


FREE, TRIAL, ASIDE = State.FREE, State.TRIAL, State.ASIDE


@pytest.mark.parametrize(
    ("states", "can_take", "expected"),
    [
        ([FREE, FREE, FREE], True, [0, 1, 2]),
        ([ASIDE, FREE, FREE], True, [1, 2, 0]),
        ([ASIDE, ASIDE, ASIDE], True, [0, 1, 2]),
        ([TRIAL, FREE, FREE], True, [0, 1, 2]),
        ([TRIAL, FREE, FREE], False, [1, 2, 0]),
        # It would not be asked first, so its trial is left to a request that does.
        ([FREE, TRIAL, FREE], True, [0, 2, 1]),
    ],
)
def test_what_is_set_aside_comes_last_but_never_disappears(
    states: list[State], can_take: bool, expected: list[int]
) -> None:
    taken: list[int] = []

    def take(n: int) -> bool:
        taken.append(n)
        return can_take

    assert healthy_first([0, 1, 2], states, take) == expected
    assert len(taken) <= 1
