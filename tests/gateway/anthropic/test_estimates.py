"""Estimates for a model whose tokenizer is not published: rough at first, then as its own reports teach.

The simulated provider has a tokenizer of its own, and its bill says what it counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from metering import tokens
from metering.calibration import OBSERVED_MIN
from metering.event import CostEvent
from simulator.process import Simulator
from tests.gateway.anthropic.conftest import DOLLAR, HAIKU, SONNET, settings
from tests.stack import Stack, running_stack, wait_until

TABLE = "| Harvest of the year | ------------ | 1932 | ============ |\n" * 12
"""What the provider has twice as many tokens for as are usual."""
PROMPT = "Tell the committee, in plain words, why the harvest failed and what it cost. " * 12


@pytest.fixture
def fresh(simulator: Simulator) -> Iterator[Stack]:
    """A gateway that has learnt nothing yet, and may: something had to be counted before."""
    tokens.count("", HAIKU)
    with running_stack(settings(simulator.root)) as started:
        yield started


def send(
    stack: Stack,
    directive: str,
    *,
    prompt: str = PROMPT,
    model: str = HAIKU,
    stream: bool = True,
    most: int = 900,
    secret: str | None = None,
) -> httpx2.Response:
    """One request's answer."""
    body = {
        "model": model,
        "max_tokens": most,
        "stream": stream,
        "messages": [{"role": "user", "content": f"{prompt} [[simulate: {directive}]]"}],
    }
    headers = {"x-api-key": secret or stack.key(), "anthropic-version": "2023-06-01"}
    return httpx2.post(f"{stack.base_url}/messages", json=body, headers=headers, timeout=60)


def ask(stack: Stack, directive: str, **wishes: Any) -> CostEvent:
    """One request's event, once what it teaches is learnt."""
    event = stack.event(send(stack, directive, **wishes).headers["request-id"])
    wait_until(lambda: not stack.gateway.parts.estimates.learning)
    return event


def off_by(event: CostEvent, simulator: Simulator) -> tuple[float, float]:
    """How far its input and output are from those that the provider bills for an attempt, by their size."""
    billed = simulator.bill(event.id)["requests"][0]["each"][0]
    assert event.usage is not None
    given, made = event.usage["input_tokens"], event.usage.get("output_tokens", 0)
    return abs(given / billed["prompt_tokens"] - 1), abs(made / billed["completion_tokens"] - 1)


def cost_off_by(event: CostEvent, simulator: Simulator) -> float:
    assert event.cost_nano is not None
    billed: int = simulator.bill(event.id)["requests"][0]["nano"]
    return abs(event.cost_nano / billed - 1)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_an_answer_without_usage_is_estimated_well_once_others_reported_theirs(
    fresh: Stack, simulator: Simulator, stream: bool
) -> None:
    def untold() -> CostEvent:
        event = ask(fresh, "tokens=400 no_usage", stream=stream)
        assert (event.usage_source, event.cost_status) == ("estimated", "estimated")
        return event

    before = untold()
    assert off_by(before, simulator)[0] > 0.15
    if not stream:  # of a stream the chunks were counted as well
        assert cost_off_by(before, simulator) > 0.1
    for number in range(OBSERVED_MIN):
        taught = ask(fresh, f"tokens={150 + 50 * number}", stream=stream)
        assert (taught.usage_source, max(off_by(taught, simulator))) == ("provider", 0)
    after = untold()
    assert max(off_by(after, simulator)) < 0.1
    assert cost_off_by(after, simulator) < 0.1


def test_thoughts_that_were_not_shown_are_estimated(fresh: Stack, simulator: Simulator) -> None:
    """This model thinks unasked, and shows nothing of it."""
    for _ in range(2 * OBSERVED_MIN):
        assert (ask(fresh, "tokens=200", model=SONNET).usage or {})["reasoning_output_tokens"] > 200
    event = ask(fresh, "tokens=400 no_usage", model=SONNET)
    assert event.usage_source == "estimated"
    assert max(off_by(event, simulator)) < 0.1
    assert cost_off_by(event, simulator) < 0.1


def test_what_one_model_teaches_says_nothing_of_another(fresh: Stack, simulator: Simulator) -> None:
    for _ in range(OBSERVED_MIN):
        ask(fresh, "tokens=200")
    other = ask(fresh, "tokens=400 no_usage", model=SONNET)
    assert off_by(other, simulator)[0] > 0.2


def test_a_lost_attempt_is_estimated_as_well(fresh: Stack, simulator: Simulator) -> None:
    def lost() -> CostEvent:
        event = ask(fresh, "tokens=40 reset_after_bytes=300", prompt=TABLE, stream=False)
        assert (event.status, event.cost_status) == ("failed", "estimated")
        return event

    assert off_by(lost(), simulator)[0] > 0.3
    for _ in range(OBSERVED_MIN):
        ask(fresh, "tokens=200", prompt=TABLE)
    assert off_by(lost(), simulator)[0] < 0.1


def test_an_estimate_is_never_above_the_maximum(fresh: Stack) -> None:
    for _ in range(OBSERVED_MIN):
        ask(fresh, "tokens=200")
    # The provider goes on beyond the maximum, and says nothing of it.
    event = ask(fresh, "tokens=600 ignore_max no_usage", most=100)
    assert event.usage_source == "estimated"
    assert event.usage is not None
    assert event.usage["output_tokens"] == 100


def test_what_is_held_does_not_rest_on_what_was_learnt(fresh: Stack) -> None:
    """A hard limit holds the most that any tokenizer can make of a prompt, whatever is likely."""
    ample, tight = fresh.key(limits={"month": DOLLAR}), fresh.key(limits={"month": 1})
    held = ask(fresh, "tokens=100", secret=ample).held_nano
    assert held > 0
    fresh.set_limit(tight, "month", held - 1)
    assert send(fresh, "tokens=100", secret=tight).status_code == 402
    for _ in range(OBSERVED_MIN):
        ask(fresh, "tokens=200")
    assert ask(fresh, "tokens=100", secret=ample).held_nano == held
    assert send(fresh, "tokens=100", secret=tight).status_code == 402
    fresh.set_limit(tight, "month", held)
    assert ask(fresh, "tokens=100", secret=tight).usage_source == "provider"


@pytest.mark.wide
def test_a_worker_that_never_had_to_estimate_loads_no_tokenizer(
    fresh: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_encodings", {})
    for stream in (True, False):
        assert ask(fresh, "tokens=200", stream=stream).usage_source == "provider"
    assert not tokens.loaded()
    assert ask(fresh, "tokens=200 no_usage").usage_source == "estimated"
    assert tokens.loaded()
