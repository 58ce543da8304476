"""Price simulation of single requests: what is changed, what stays, and what cannot be said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from metering.event import Attempt, CostEvent
from metering.override import Override
from metering.pricebook import PriceBook
from metering.usage import Usage
from reports.simulation import Laid, Outcome, Recorded, Scenario, Swap, simulate

HOUSE = Override("house", "small", 0, {"input_tokens": 1_000, "output_tokens": 2_000})
LARGE = Override("house", "large", 0, {"input_tokens": 10_000, "output_tokens": 20_000})
BOOK = PriceBook.load([HOUSE, LARGE])
SCENARIO = Scenario(BOOK, "acc")
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
    laid = Laid(dearer.rates_pico, lambda units: PriceBook.load([HOUSE, LARGE, dearer]))
    scenario = Scenario(BOOK, "acc", laid={("house", "small"): laid})
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


GEMINI = ("google", "gemini-2.5-pro")
AT_MS = 1_763_700_000_000
LISTED = {"input_tokens": 1_250_000, "output_tokens": 10_000_000}
"""What its list has for contexts of at most 200,000 tokens; longer ones cost about twice as much."""


def long_and_short(rates: dict[str, int], *, any_length: bool = False) -> list[Outcome]:
    """What requests of 200,000 and of 200,001 input tokens would cost at these prices."""
    now = PriceBook.load()
    listed = now.find(*GEMINI, AT_MS)
    assert listed is not None

    def book(units: frozenset[str]) -> PriceBook:
        return PriceBook.load([Override(*GEMINI, 0, {unit: rates[unit] for unit in units}, account="acc")])

    scenario = Scenario(now, "acc", laid={GEMINI: Laid(rates, book, any_length)})
    found = []
    for count in (200_000, 200_001):
        usage = Usage(input_tokens=count, output_tokens=10)
        nano = listed.cost_of(usage).nano
        attempt = Attempt(
            provider=GEMINI[0],
            model=GEMINI[1],
            usage={"input_tokens": count, "output_tokens": 10},
            cost_nano=nano,
            started_ms=AT_MS,
        )
        found.append(outcome(scenario, CostEvent("e", attempts=[attempt], cost_nano=nano, model=GEMINI[1])))
    assert found[1].before_nano in (0, 200_001 * 2_500 + 10 * 15_000)
    return found


def test_the_same_prices_cost_what_was_recorded_in_contexts_of_any_length() -> None:
    for each in long_and_short(LISTED):
        assert each.before_nano == each.after_nano > 0
        assert (each.changed, each.not_computable, each.not_reproduced) == (1, 0, 0)


def test_another_price_says_nothing_of_long_contexts_unless_it_is_for_any() -> None:
    dearer = {**LISTED, "output_tokens": 20_000_000}
    short, long = long_and_short(dearer)
    assert short.after_nano == 200_000 * 1_250 + 10 * 20_000
    assert (long.before_nano, long.after_nano, long.not_computable) == (0, 0, 1)
    assert long.reasons == {"long_context": 1}
    short, long = long_and_short(dearer, any_length=True)
    assert short.after_nano == 200_000 * 1_250 + 10 * 20_000
    assert long.after_nano == 200_001 * 1_250 + 10 * 20_000
    # The list's own prices, too, where they are wished for any length.
    assert long_and_short(LISTED, any_length=True)[1].after_nano == 200_001 * 1_250 + 10 * 10_000


def test_where_nothing_is_otherwise_the_recorded_cost_stays_whatever_made_it() -> None:
    """Of another tier or region, say, which the book does not give."""
    same = Laid({"input_tokens": 1_000}, lambda units: BOOK)
    odd = request(("small", 100, 299))
    for scenario in (
        replace(SCENARIO, laid={("house", "small"): same}),
        replace(SCENARIO, swaps=(Swap("house", "small", model="small"),)),
    ):
        found = outcome(scenario, odd)
        assert (found.before_nano, found.after_nano, found.changed) == (299, 299, 1)
        assert found.not_reproduced == 0
