"""Price simulation of single requests: what is changed, what stays, and what cannot be said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from metering.event import Attempt, CostEvent
from metering.override import Override
from metering.pricebook import PriceBook
from metering.usage import Usage
from reports.simulation import Outcome, Recorded, Scenario, Swap, simulate

HOUSE = Override("house", "small", 0, {"input_tokens": 1_000, "output_tokens": 2_000})
LARGE = Override("house", "large", 0, {"input_tokens": 10_000, "output_tokens": 20_000})
BOOK = PriceBook.load([HOUSE, LARGE])
SCENARIO = Scenario(BOOK, BOOK, "acc")
TO_SMALL = Swap("house", "small", model="large")


def request(*tries: tuple[str, int, int | None], **fields: Any) -> CostEvent:
    """Tries: model, input tokens (and as many output tokens), recorded cost."""
    attempts = [
        Attempt(
            provider="house",
            model=model,
            usage={"input_tokens": tokens, "output_tokens": tokens, "requests": 1},
            cost_nano=nano,
            started_ms=1_000,
        )
        for model, tokens, nano in tries
    ]
    costs = [nano for _, _, nano in tries]
    known = [nano for nano in costs if nano is not None]
    cost = sum(known) if len(known) == len(costs) else None
    return CostEvent("e", attempts=attempts, cost_nano=cost, model="large", **fields)


def outcome(scenario: Scenario, event: CostEvent, **fields: Any) -> Outcome:
    recorded = Recorded(event, event.known_nano, event.cost_nano is None, None, None)
    rows, total = simulate(scenario, [replace(recorded, **fields)], lambda each: each.model)
    assert (rows[0].before_nano, rows[0].after_nano) == (total.before_nano, total.after_nano)
    return total


def test_every_attempt_that_fits_is_priced_anew() -> None:
    scenario = replace(SCENARIO, swaps=(TO_SMALL,))
    found = outcome(scenario, request(("large", 100, 3_000), ("small", 10, 30)))
    assert (found.before_nano, found.after_nano, found.changed) == (3_030, 330, 1)
    assert found.not_reproduced == 0
    untouched = outcome(scenario, request(("small", 10, 31)))
    assert (untouched.before_nano, untouched.after_nano, untouched.changed) == (31, 31, 0)


def test_corrections_stay() -> None:
    scenario = replace(SCENARIO, swaps=(TO_SMALL,))
    found = outcome(scenario, request(("large", 100, 3_000)), known_nano=3_777)
    assert (found.before_nano, found.after_nano) == (3_777, 300 + 777)


def test_the_first_swap_that_fits_decides_and_all_of_its_names_must() -> None:
    swaps = (Swap("house", "small", route="fast"), Swap("house", "large", provider="house"))
    scenario = replace(SCENARIO, swaps=swaps)
    assert outcome(scenario, request(("large", 100, 3_000), route_final="fast")).after_nano == 300
    assert outcome(scenario, request(("small", 100, 300), route_final="slow")).after_nano == 3_000


def test_other_prices_meet_the_model_under_each_of_its_names() -> None:
    dearer = replace(HOUSE, rates_pico={"output_tokens": 9_000}, account="acc")
    repriced = frozenset({("house", "small")})
    scenario = Scenario(BOOK, PriceBook.load([HOUSE, LARGE, dearer]), "acc", repriced=repriced)
    assert outcome(scenario, request(("small", 100, 300))).after_nano == 1_000
    assert outcome(scenario, request(("large", 100, 3_000))).changed == 0


def test_what_is_not_known_is_in_neither_sum() -> None:
    scenario = replace(SCENARIO, swaps=(Swap("house", "nothing", model="large"),))
    found = outcome(scenario, request(("large", 100, 3_000)))
    assert (found.before_nano, found.after_nano, found.not_computable) == (0, 0, 1)
    assert found.reasons == {"unpriced": 1}
    never_priced = outcome(SCENARIO, request(("large", 100, None)))
    assert (never_priced.not_computable, never_priced.reasons) == (1, {"unpriced": 1})
    silent = request(("large", 100, 3_000))
    silent.attempts[0].usage = None
    scenario = replace(SCENARIO, swaps=(TO_SMALL,))
    assert outcome(scenario, silent).reasons == {"no_usage": 1}
    silent.attempts[0].cost_nano = silent.cost_nano = 0
    assert outcome(scenario, silent).not_computable == 0


def test_costs_that_the_book_does_not_give_are_told() -> None:
    scenario = replace(SCENARIO, swaps=(TO_SMALL,))
    assert outcome(scenario, request(("large", 100, 2_999))).not_reproduced == 1


def test_revenue_that_cannot_be_said_is_in_neither_sum() -> None:
    event = request(("small", 100, 300))
    assert outcome(SCENARIO, event, revenue_nano=5).revenue_after_nano == 5
    unsaid = outcome(replace(SCENARIO, revenue=lambda *_: (None, False)), event, revenue_nano=5)
    assert (unsaid.revenue_before_nano, unsaid.revenue_not_computable) == (0, 1)
    new = outcome(replace(SCENARIO, revenue=lambda *_: (9, True)), event)
    assert (new.revenue_before_nano, new.revenue_after_nano, new.revenue_events) == (0, 9, 1)


def test_a_price_that_is_given_holds_for_contexts_of_any_length() -> None:
    rates = {"input_tokens": 1_250_000, "output_tokens": 10_000_000}  # those of the list for short ones
    given = Override("google", "gemini-2.5-pro", 0, rates)
    now, laid = PriceBook.load(), PriceBook.load([given])
    for count, dearer in ((200_000, False), (200_001, True)):
        usage = Usage(input_tokens=count, output_tokens=10)
        listed, simulated = (book.find("google", "gemini-2.5-pro", 1_763_700_000_000) for book in (now, laid))
        assert listed is not None
        assert simulated is not None
        cost_nano = listed.cost_of(usage).nano
        assert simulated.cost_of(usage).nano == count * 1_250 + 10 * 10_000
        assert (cost_nano != simulated.cost_of(usage).nano) is dearer
