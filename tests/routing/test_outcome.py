"""The table of outcomes: what an attempt met, and what follows from it."""

from __future__ import annotations

from itertools import product

import pytest

from routing.outcome import FALLBACKS, RULES, Chances, Next, Outcome, Step, after, of_status

NO_CHANCE = Chances(endpoints=False, repeats=0, wait_s=None, targets=False)
EVERY_CHANCE = Chances(endpoints=True, repeats=1, wait_s=0.1, targets=True)
UNKNOWN_COST = {Outcome.TIMEOUT, Outcome.LOST, Outcome.ERROR_IN_STREAM}


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        ((200, 201, 206), Outcome.ANSWERED),
        ((429,), Outcome.RATE_LIMITED),
        ((408, 409, 425, 500, 502, 503, 529), Outcome.SERVER_ERROR),
        ((401, 402, 403), Outcome.CREDENTIAL),
        ((404,), Outcome.NO_SUCH_MODEL),
        ((400, 405, 413, 422, 451), Outcome.CALLERS_FAULT),
        ((100, 301, 302, 307), Outcome.UNEXPECTED),
    ],
)
def test_a_status_has_its_outcome(statuses: tuple[int, ...], outcome: Outcome) -> None:
    assert {of_status(status) for status in statuses} == {outcome}


def test_every_outcome_has_a_rule_and_only_some_lead_to_other_targets() -> None:
    assert set(RULES) == set(Outcome)
    assert {outcome for outcome in Outcome if outcome.value not in FALLBACKS} == {
        Outcome.ANSWERED,
        Outcome.CALLERS_FAULT,
        Outcome.UNEXPECTED,
    }


def test_what_is_not_surely_free_is_never_asked_of_the_same_provider_again() -> None:
    assert {outcome for outcome, rule in RULES.items() if not rule.free} == UNKNOWN_COST
    chances = [Chances(*each) for each in product((True, False), (0, 1), (None, 0.1), (True, False))]
    for outcome in UNKNOWN_COST:
        assert {after(outcome, each) for each in chances} == {Step.NEXT, Step.STOP}


@pytest.mark.parametrize(
    ("outcome", "step"),
    [
        (Outcome.ANSWERED, Step.DONE),
        (Outcome.RATE_LIMITED, Step.ELSEWHERE),
        (Outcome.SERVER_ERROR, Step.ELSEWHERE),
        (Outcome.CREDENTIAL, Step.ELSEWHERE),
        (Outcome.NOT_SENT, Step.ELSEWHERE),
        (Outcome.NO_SUCH_MODEL, Step.NEXT),
        (Outcome.CONTEXT_TOO_LONG, Step.NEXT),
        (Outcome.CONTENT_POLICY, Step.NEXT),
    ],
)
def test_with_every_chance_the_nearest_one_is_taken(outcome: Outcome, step: Step) -> None:
    assert after(outcome, EVERY_CHANCE) is step


def test_only_a_server_error_is_repeated_while_another_target_could_answer() -> None:
    chances = Chances(endpoints=False, repeats=1, wait_s=0.1, targets=True)
    repeated = {outcome for outcome in Outcome if after(outcome, chances) is Step.AGAIN}
    assert repeated == {Outcome.SERVER_ERROR}
    alone = Chances(endpoints=False, repeats=1, wait_s=0.1, targets=False)
    repeated = {outcome for outcome in Outcome if after(outcome, alone) is Step.AGAIN}
    assert repeated == {Outcome.SERVER_ERROR, Outcome.RATE_LIMITED, Outcome.NOT_SENT}


def test_a_wait_that_is_too_long_is_not_made() -> None:
    assert after(Outcome.RATE_LIMITED, Chances(False, 1, None, False)) is Step.STOP
    assert after(Outcome.SERVER_ERROR, Chances(False, 1, None, True)) is Step.NEXT


def test_without_a_chance_everything_ends() -> None:
    assert {after(outcome, NO_CHANCE) for outcome in Outcome} == {Step.DONE, Step.STOP}


def test_a_prompt_that_is_too_long_only_goes_to_larger_windows() -> None:
    assert [outcome for outcome, rule in RULES.items() if rule.targets is Next.LARGER] == [
        Outcome.CONTEXT_TOO_LONG
    ]
