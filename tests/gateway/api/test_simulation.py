"""Price simulation of long contexts, as its clients see it: the list's own prices change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from gateway.api.fields import moment_text
from metering.event import Attempt, CostEvent
from metering.eventstore import EventStore
from metering.pricebook import PriceBook
from metering.usage import Usage
from tests.gateway.api.asking import Asker
from tests.metering.events import event
from tests.stack import Stack

pytestmark = pytest.mark.wide
AT_MS = 1_763_700_000_000
PROVIDER, MODEL = "google", "gemini-2.5-pro"
LISTED = {"input_tokens": "1.25", "output_tokens": "10.00"}
"""Of contexts of at most 200,000 tokens."""
LENGTHS = (1_000, 200_000, 200_001, 900_000)
SPAN = {"date_from": moment_text(AT_MS - 1), "date_to": moment_text(AT_MS + len(LENGTHS))}


def recorded(number: int, tokens: int, customer: str) -> CostEvent:
    """A request of so many input tokens, billed by the list."""
    price = PriceBook.load().find(PROVIDER, MODEL, AT_MS)
    assert price is not None
    usage = {"input_tokens": tokens, "output_tokens": 500, "requests": 1}
    cost = price.cost_of(Usage.from_document(usage)).nano
    started = AT_MS + number
    attempt = Attempt(provider=PROVIDER, model=MODEL, usage=usage, cost_nano=cost, started_ms=started)
    return event(
        started_ms=started,
        customer=customer,
        provider=PROVIDER,
        model=MODEL,
        usage=usage,
        cost_nano=cost,
        attempts=[attempt],
    )


@pytest.fixture(scope="module")
def events(stack: Stack) -> Iterator[list[CostEvent]]:
    made = [recorded(number, tokens, f"of-{tokens}") for number, tokens in enumerate(LENGTHS)]
    with closing(EventStore(stack.database)) as store:
        store.append(made)
        yield made


@pytest.fixture
def ask(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=("usage.read",)))


def simulated(ask: Asker, **price: Any) -> dict[str, Any]:
    prices = [{"provider": PROVIDER, "model": MODEL, **price}]
    body = {**SPAN, "model": MODEL, "by": "customer", "prices": prices}
    return dict(ask.post("/api/simulations/price", body))


def test_the_lists_own_prices_cost_what_was_recorded(ask: Asker, events: list[CostEvent]) -> None:
    told = simulated(ask, usd_per_million=LISTED)
    assert told["total"]["not_computable"] == 0
    for side in (told["total"]["before"], told["total"]["after"]):
        assert side["cost_nano"] == str(sum(each.known_nano for each in events))
    assert {row["name"]: row["after"]["cost_nano"] for row in told["rows"]} == {
        each.customer: str(each.known_nano) for each in events
    }


def test_another_price_leaves_long_contexts_out_and_says_so(ask: Asker, events: list[CostEvent]) -> None:
    told = simulated(ask, usd_per_million={**LISTED, "output_tokens": "20"})
    rows = {row["name"]: row for row in told["rows"]}
    for length in (1_000, 200_000):
        assert rows[f"of-{length}"]["after"]["cost_nano"] == str(length * 1_250 + 500 * 20_000)
    for length in (200_001, 900_000):
        row = rows[f"of-{length}"]
        assert (row["not_computable"], row["not_computable_reasons"]) == (1, {"long_context": 1})
        assert row["before"]["cost_nano"] == row["after"]["cost_nano"] == "0"
    assert told["margin_reason"] == "not_computable"
    flat = simulated(ask, usd_per_million={**LISTED, "output_tokens": "20"}, any_length=True)
    rows = {row["name"]: row for row in flat["rows"]}
    assert flat["total"]["not_computable"] == 0
    assert rows["of-900000"]["after"]["cost_nano"] == str(900_000 * 1_250 + 500 * 20_000)
