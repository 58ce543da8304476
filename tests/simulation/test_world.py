"""Seeds of the simulation: each a life of a few workers, with everything going wrong that its plan says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.world import run_seed

PORTION = 25
SOME, MANY = range(0, 100, PORTION), range(1_000, 3_000, PORTION)
SEEDS_MAX = 400
"""In so many seeds a mutant must be found."""
ROOT = Path(__file__).parents[2]


def _live(first: int) -> None:
    grants = 0
    for seed in range(first, first + PORTION):
        outcome = run_seed(seed)
        grants += outcome.grants
        assert outcome.broken is None, (
            f"seed {seed}: {outcome.broken}; its story: python -m tests.simulation --seed {seed} -v"
        )
    assert grants >= 5 * PORTION, "hardly anything was granted: that was no life of the ledger"


@pytest.mark.parametrize("first", SOME)
def test_every_seed_keeps_the_ledgers_promises(first: int) -> None:
    _live(first)


@pytest.mark.slow
@pytest.mark.parametrize("first", MANY)
def test_thousands_of_seeds_keep_the_ledgers_promises(first: int) -> None:
    _live(first)


def test_a_seed_is_the_same_story_each_time_it_is_told() -> None:
    for seed in (3, 9, 14):
        first, second = run_seed(seed, keep=True), run_seed(seed, keep=True)
        assert first.lines == second.lines
        assert first.trace == second.trace
        assert first.grants > 0


def test_a_seed_is_the_same_story_in_another_process() -> None:
    command = [sys.executable, "-m", "tests.simulation", "--seed", "3"]
    told = subprocess.run(
        command, cwd=ROOT, env={"PYTHONHASHSEED": "1"}, capture_output=True, text=True, check=True
    )
    assert told.stdout.split()[-1] == run_seed(3).trace


@pytest.mark.parametrize(
    "mutant", [pytest.param(each, id=each.name, marks=[pytest.mark.slow] * each.rare) for each in MUTANTS]
)
def test_a_fault_in_a_script_is_found_by_some_seed(mutant: Mutant) -> None:
    found = (
        run_seed(seed, altered={mutant.script: mutant.source}, focus=mutant.focus).broken
        for seed in range(SEEDS_MAX)
    )
    assert any(found), f"{SEEDS_MAX} seeds did not notice: {mutant.name}"


def test_seeds_that_find_the_fault_of_a_mutant_find_none_without_it() -> None:
    mutant = next(each for each in MUTANTS if each.name == "open forgets what is doubted")
    seed = next(
        seed
        for seed in range(SEEDS_MAX)
        if run_seed(seed, altered={mutant.script: mutant.source}).broken is not None
    )
    assert run_seed(seed).broken is None
