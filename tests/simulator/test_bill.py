"""Bills worked by hand, in fractions of a dollar."""

from __future__ import annotations

import asyncio
import socket
import struct
from fractions import Fraction

import openai
import pytest

from simulator.bill import Bill
from simulator.models import per_million
from simulator.process import Simulator, start_simulator
from tests.simulator.conftest import Raw, chat, connection, until_quiet

MESSAGE = {"role": "user", "content": "What is the capital of Mexico?"}


def test_a_plain_call_costs_its_tokens_and_carries_the_clients_id(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    client.chat.completions.create(
        model="gpt-4o", messages=[MESSAGE], extra_headers={"x-client-request-id": "mine"}
    )
    bill = simulator.bill()
    # 14 x $2.50/M + 40 x $10/M = $0.000035 + $0.0004 = $0.000435
    assert bill["total_nano"] == 435_000
    assert Fraction(bill["total_exact"]) == Fraction(435, 10**6)
    (entry,) = bill["requests"]
    assert entry == {
        "id": "mine", "model": "gpt-4o-2024-08-06", "attempts": 1, "prompt_tokens": 14, "cached": 0,
        "written_5m": 0, "written_1h": 0, "completion_tokens": 40, "reasoning": 0, "searches": 0,
        "nano": 435_000, "exact": "87/200000", "status": 200,
        "complete": True, "each": entry["each"],
    }  # fmt: skip


def test_without_a_clients_id_the_answers_own_is_used(client: openai.OpenAI, simulator: Simulator) -> None:
    answer = client.chat.completions.create(model="gpt-4o", messages=[MESSAGE])
    assert simulator.bill(answer._request_id)["total_nano"] == 435_000
    assert simulator.bill("nobody") == {"total_nano": 0, "total_exact": "0", "requests": [], "forgotten": 0}


def test_a_streamed_call_costs_the_same(client: openai.OpenAI, simulator: Simulator) -> None:
    assert list(client.chat.completions.create(model="gpt-4o", messages=[MESSAGE], stream=True))
    assert simulator.total_nano() == 435_000


def test_hidden_cached_and_tiered_tokens_are_charged_at_their_rates(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    client.chat.completions.create(
        model="gpt-5",
        service_tier="flex",
        messages=[
            {"role": "user", "content": "word " * 1400 + "[[simulate: cached=1024 reasoning=10 tokens=5]]"}
        ],
    )
    (entry,) = simulator.bill()["requests"]
    assert (entry["cached"], entry["reasoning"], entry["completion_tokens"]) == (1024, 10, 15)
    fresh = entry["prompt_tokens"] - 1024
    # Flex: $0.625/M fresh, $0.0625/M cached, $5/M output.
    exact = (fresh * Fraction("0.625") + 1024 * Fraction("0.0625") + 15 * 5) / 10**6
    assert Fraction(entry["exact"]) == exact
    assert entry["nano"] == round(exact * 10**9)


def test_an_embedding_costs_its_input(client: openai.OpenAI, simulator: Simulator) -> None:
    client.embeddings.create(model="text-embedding-3-large", input=["one", "two words"])
    # 3 x $0.13/M
    assert simulator.total_nano() == 390


def test_refusals_are_listed_and_free(client: openai.OpenAI, simulator: Simulator) -> None:
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "[[simulate: status=500]]"}]
        )
    (entry,) = simulator.bill()["requests"]
    assert (entry["status"], entry["nano"], entry["model"]) == (500, 0, "gpt-4o")


def test_attempts_of_one_request_are_added_up(simulator: Simulator) -> None:
    text = "Hi [[simulate: status=429 retry_after_ms=1 times=1 tokens=2]]"
    with openai.OpenAI(base_url=simulator.base_url, api_key="sk-test", max_retries=2) as client:
        client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": text}],
            extra_headers={"x-client-request-id": "one"},
        )
    (entry,) = simulator.bill()["requests"]
    assert (entry["attempts"], entry["status"]) == (2, 200)
    assert [each["status"] for each in entry["each"]] == [429, 200]
    assert [each["completion_tokens"] for each in entry["each"]] == [0, 2]


def test_another_model_may_answer_and_is_what_costs(client: openai.OpenAI, simulator: Simulator) -> None:
    text = "[[simulate: served=gpt-4o-mini tier=priority tokens=10]]"
    answer = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}])
    assert (answer.model, answer.service_tier) == ("gpt-4o-mini-2024-07-18", "priority")
    # Priority of gpt-4o-mini: $0.25/M and $1/M.
    assert simulator.total_nano() == answer.usage.prompt_tokens * 250 + 10 * 1_000


@pytest.mark.parametrize("full", [False, True])
async def test_a_stream_left_by_its_reader_is_billed_until_that_was_noticed(
    simulator: Simulator, full: bool
) -> None:
    wish = "tokens=1000 pace_ms=5" + (" bill_full" if full else "")
    raw = _request(chat(f"[[simulate: {wish}]]", stream=True), "left")
    async with connection(simulator) as (reader, writer):
        writer.write(raw)
        seen = b""
        while seen.count(b'"delta":{"content":') < 11:  # the role's event and ten pieces
            seen += await reader.read(65536)
        running = await asyncio.to_thread(simulator.open)
        assert (running["requests"], running["streams"]) == (1, 1)
        assert running["connections"] >= 1
    await until_quiet(simulator)
    (entry,) = (await asyncio.to_thread(simulator.bill, "left"))["requests"]
    assert entry["complete"] is False
    made = entry["completion_tokens"]
    assert made == 1000 if full else 10 <= made < 500
    # gpt-4o-mini: $0.15/M in, $0.60/M out.
    assert entry["nano"] == entry["prompt_tokens"] * 150 + made * 600


async def test_an_answer_left_while_it_is_made_is_billed_for_what_was_made(simulator: Simulator) -> None:
    async with connection(simulator) as (_, writer):
        writer.write(_request(chat("[[simulate: tokens=1000 pace_ms=20]]"), "early"))
        while not (await asyncio.to_thread(simulator.open))["requests"]:
            pass
    await until_quiet(simulator)
    (entry,) = (await asyncio.to_thread(simulator.bill, "early"))["requests"]
    assert entry["status"] is None
    assert entry["completion_tokens"] < 500


async def test_hidden_tokens_are_billed_when_the_reader_leaves_before_the_first_visible_one(
    simulator: Simulator,
) -> None:
    body = chat("[[simulate: reasoning=1000 pace_ms=1 tokens=1]]", stream=True) | {"model": "gpt-5-nano"}
    async with connection(simulator) as (reader, writer):
        writer.write(_request(body, "thinking"))
        await reader.readuntil(b"\r\n\r\n")
        while not (await asyncio.to_thread(simulator.open))["streams"]:
            pass
    await until_quiet(simulator)
    (entry,) = (await asyncio.to_thread(simulator.bill, "thinking"))["requests"]
    assert entry["reasoning"] == entry["completion_tokens"] < 1000


def test_a_reset_in_the_stream_bills_only_the_events_that_left(raw: Raw, simulator: Simulator) -> None:
    raw.send(chat("[[simulate: reset_after_bytes=2500]]", stream=True), x_client_request_id="cut")
    got = raw.until_reset()
    assert len(got) == 2500
    (entry,) = simulator.bill("cut")["requests"]
    begun = got.count(b'data: {"id"') - 1  # without the role's event
    assert entry["completion_tokens"] in (begun, begun + 1)  # the last event may be cut before its id
    assert entry["complete"] is False


def test_the_setting_bills_whole_answers_on_hangup() -> None:
    with start_simulator(bill_full_on_hangup=True, tokens=50) as simulator:
        with socket.create_connection((simulator.host, simulator.port)) as plug:
            Raw(plug).send(chat("[[simulate: hang=after_headers]]", stream=True))
            plug.recv(65536)
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        asyncio.run(until_quiet(simulator))
        assert simulator.bill()["requests"][0]["completion_tokens"] == 50


def test_rounding_is_half_even_and_once_for_each_attempt() -> None:
    bill = Bill()
    for tokens in (1, 3):
        charge = bill.open("a")
        charge.rates = per_million("0.0005", "0", "0")  # half a nano-dollar for each token
        charge.prompt_tokens = tokens
        bill.close(charge, status=200, complete=True)
    # 0.5 becomes 0 and 1.5 becomes 2.
    assert bill.document()["total_nano"] == 2
    assert bill.document()["total_exact"] == str(Fraction(2, 10**9))


def test_old_requests_leave_the_list_but_not_the_total() -> None:
    bill = Bill(remembered=2)
    for number in range(4):
        charge = bill.open(f"request {number}")
        charge.rates = per_million("1", "1", "1")
        charge.prompt_tokens = 1
        if number:
            bill.close(charge, status=200, complete=True)
    document = bill.document()
    assert document["total_nano"] == 4_000
    assert document["forgotten"] == 2
    assert [entry["id"] for entry in document["requests"]] == ["request 0", "request 3"]


def _request(body: dict[str, object], request_id: str) -> bytes:
    near, far = socket.socketpair()
    with near, far:
        Raw(near).send(body, x_client_request_id=request_id)
        return far.recv(65536)
