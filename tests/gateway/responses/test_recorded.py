"""Recorded responses of four providers, replayed through the gateway: the same bytes, usage and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from gateway.settings import ProviderSettings, Settings
from gateway.settings.provider import DEFAULT_PATHS
from metering.bill import bill
from metering.pricebook import PriceBook
from metering.usage.readers import READERS
from metering.usage.reading import NOTHING
from tests.gateway.replay import Replay, answer_of, id_of, needs_recordings, recorded
from tests.metering.recorded import events_of
from tests.stack import Stack, running_stack, wait_until

PROVIDERS = ("azure", "deepseek", "openai", "openrouter")
EXCHANGES = recorded(
    lambda exchange: (
        exchange["provider"] in PROVIDERS and exchange["path"].split("?")[0].endswith("/responses")
    )
)
GONE = {"status": 404, "response": {"error": {"message": "not found", "code": None}}}

pytestmark = needs_recordings


@pytest.fixture(scope="module")
def stack(replay: Replay) -> Iterator[Stack]:
    providers = {
        name: ProviderSettings(
            base_url=f"http://127.0.0.1:{replay.port}/{name}",
            prices=name,
            models=[],
            paths=DEFAULT_PATHS | {"responses": "/responses"},
        )
        for name in PROVIDERS
    }
    with running_stack(Settings(providers=providers)) as started:
        yield started


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(name="replay")


@pytest.mark.parametrize("exchange", EXCHANGES, ids=id_of)
def test_a_recorded_response_passes_unaltered_and_costs_what_it_cost(
    stack: Stack, replay: Replay, secret: str, exchange: dict[str, Any]
) -> None:
    replay.exchange = exchange
    asked = {**exchange["request"], "model": f"{exchange['provider']}/{exchange['request']['model']}"}
    answer = httpx2.post(
        stack.base_url + "/responses", json=asked, headers={"Authorization": f"Bearer {secret}"}, timeout=20
    )
    replay.exchange = GONE  # to whoever goes on asking for one that ran in the background
    assert answer.status_code == exchange["status"]
    assert answer.content == answer_of(exchange)[1]
    request_id = answer.headers["x-request-id"]
    wait_until(lambda: any(event.id == request_id for event in stack.events()))
    event = stack.event(request_id)
    reading = NOTHING
    for told in events_of(exchange):
        reading = READERS["openai.responses"](told, reading)
    if exchange["status"] != 200:
        assert (event.status, event.cost_nano) == ("failed", 0)
    elif reading.usage is None:
        assert (event.status, event.outcome_reason) == ("cut", "background_lost")
        assert event.cost_status in ("estimated", "unpriced")
    else:
        cost = bill(
            PriceBook.load(), exchange["provider"], exchange["request"]["model"], reading, event.started_ms
        )
        assert event.usage == reading.usage.document()
        assert event.usage_source == "provider"
        assert event.cost_nano == cost.nano


def test_all_of_them_were_tried(record_property: Any) -> None:
    counted = Counter(exchange["provider"] for exchange in EXCHANGES)
    record_property("replayed", dict(counted))
    assert counted == {"openai": 75, "deepseek": 6, "openrouter": 3, "azure": 2}
