"""Bedrock's recorded exchanges, replayed through the gateway: the same bytes, usage and cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import httpx2
import orjson
import pytest

from gateway.settings import ProviderSettings, Settings
from metering.bill import bill
from metering.pricebook import PriceBook
from metering.usage.readers import READERS
from tests.gateway.replay import Replay, answer_of, id_of, needs_recordings, recorded
from tests.stack import Stack, running_stack

EXCHANGES = recorded(lambda exchange: exchange["provider"] == "bedrock")
PATHS = {"bedrock.converse": "/model/{model}/converse", "bedrock.invoke": "/model/{model}/invoke"}

pytestmark = needs_recordings


@pytest.fixture(scope="module")
def stack(replay: Replay) -> Iterator[Stack]:
    models = sorted({unquote(exchange["path"].split("/")[2]) for exchange in EXCHANGES})
    provider = ProviderSettings(
        base_url=f"http://127.0.0.1:{replay.port}", prices="aws", models=models, paths=PATHS
    )
    with running_stack(Settings(providers={"bedrock": provider})) as started:
        yield started


@pytest.fixture(scope="module")
def secret(stack: Stack) -> str:
    return stack.key(name="replay")


@pytest.mark.parametrize("exchange", EXCHANGES, ids=id_of)
def test_a_recorded_exchange_passes_unaltered_and_costs_what_it_cost(
    stack: Stack, replay: Replay, secret: str, exchange: dict[str, Any]
) -> None:
    replay.exchange = exchange
    given = exchange["request"]
    asked = orjson.loads(given) if isinstance(given, str) else given
    answer = httpx2.post(
        stack.base_url.removesuffix("/v1") + exchange["path"],
        json=asked,
        headers={"Authorization": f"Bearer {secret}"},
        timeout=20,
    )
    assert (answer.status_code, answer.content) == (exchange["status"], answer_of(exchange)[1])
    assert replay.path == exchange["path"]
    assert replay.asked == asked
    event = stack.event(answer.headers["x-request-id"])
    reader = READERS["bedrock.converse" if exchange["path"].endswith("/converse") else "bedrock.invoke"]
    whole = orjson.loads(answer.content)
    reading = reader(whole)
    if exchange["status"] != 200:
        assert (event.status, event.cost_nano) == ("failed", 0)
    elif reading.usage is None:
        assert event.usage_source == "estimated"
    else:
        model = unquote(exchange["path"].split("/")[2])
        cost = bill(PriceBook.load(), "aws", model, reading, event.started_ms)
        assert (event.usage, event.usage_source) == (reading.usage.document(), "provider")
        assert event.cost_nano == cost.nano


def test_all_of_them_were_tried() -> None:
    assert Counter(exchange["path"].rpartition("/")[2] for exchange in EXCHANGES) == {
        "converse": 99,
        "invoke": 9,
    }
