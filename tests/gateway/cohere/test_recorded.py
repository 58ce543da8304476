"""Cohere's recorded exchanges, replayed through the gateway: the same bytes, usage and cost."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from gateway.settings import ProviderSettings, Settings
from metering.bill import bill
from metering.pricebook import PriceBook
from metering.usage.readers import READERS
from tests.gateway.replay import Replay, answer_of, id_of, needs_recordings, recorded
from tests.stack import Stack, running_stack

EXCHANGES = recorded(lambda exchange: exchange["provider"] == "cohere")
PATHS = {"cohere.chat": "/v2/chat", "cohere.embed": "/v2/embed"}

pytestmark = needs_recordings


@pytest.fixture(scope="module")
def stack(replay: Replay) -> Iterator[Stack]:
    provider = ProviderSettings(
        base_url=f"http://127.0.0.1:{replay.port}", prices="cohere", models=[], paths=PATHS
    )
    with running_stack(Settings(providers={"cohere": provider})) as started:
        yield started


@pytest.mark.parametrize("exchange", EXCHANGES, ids=id_of)
def test_a_recorded_exchange_passes_unaltered_and_costs_what_it_cost(
    stack: Stack, replay: Replay, exchange: dict[str, Any]
) -> None:
    replay.exchange = exchange
    answer = httpx2.post(
        stack.base_url.removesuffix("/v1") + exchange["path"],
        json={**exchange["request"], "model": f"cohere/{exchange['request']['model']}"},
        headers={"Authorization": f"Bearer {stack.key()}"},
        timeout=20,
    )
    assert (answer.status_code, answer.content) == (200, answer_of(exchange)[1])
    assert replay.asked == exchange["request"]
    event = stack.event(answer.headers["x-request-id"])
    reading = READERS["cohere.chat"](exchange["response"])
    cost = bill(PriceBook.load(), "cohere", exchange["request"]["model"], reading, event.started_ms)
    assert reading.usage is not None
    assert (event.usage, event.usage_source) == (reading.usage.document(), "provider")
    assert event.cost_nano == cost.nano


def test_all_of_them_were_tried() -> None:
    assert len(EXCHANGES) == 8
