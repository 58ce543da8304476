"""Responses that are kept: conversations, retrieval, and answers made in the background, with their bill."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from simulator.process import Simulator, start_simulator
from tests.simulator.conftest import until_quiet

pytestmark = pytest.mark.wide  # some run for as long as their tokens take
SLOW = "Hi [[simulate: tokens=16000 pace_ms=5]]"


def ask(client: openai.OpenAI, given: Any, **more: Any) -> Any:
    return client.responses.create(**{"model": "gpt-4o", "input": given, **more})


def wait_for(client: openai.OpenAI, response_id: str, status: str) -> tuple[Any, set[str]]:
    """The response once it has that status, and all that were seen on the way."""
    seen: set[str] = set()
    end = time.monotonic() + 30
    while time.monotonic() < end:
        found = client.responses.retrieve(response_id)
        seen.add(found.status)
        if found.status == status:
            return found, seen
    raise AssertionError(f"never {status}: {seen}")


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end


def test_earlier_turns_count_as_input(client: openai.OpenAI, simulator: Simulator) -> None:
    first = ask(client, "Hello [[simulate: tokens=5]]", instructions="Be brief.")
    second = ask(client, "Go on", previous_response_id=first.id)
    # Be| brief|. 3 + 4, Hello| [|[|simulate|:| tokens|=|5|]|] 10 + 4, and the answer 3.
    assert first.usage.input_tokens == 24
    # Without the instructions 17; the 5 pieces + 4 of the answer, Go| on 2 + 4.
    assert second.usage.input_tokens == 17 + 9 + 6
    third = ask(client, "And on", previous_response_id=second.id)
    assert third.usage.input_tokens == second.usage.input_tokens + 44 + 6
    assert third.previous_response_id == second.id
    assert simulator.bill()["requests"][-1]["prompt_tokens"] == third.usage.input_tokens


def test_a_conversation_goes_on_from_any_of_its_ends(client: openai.OpenAI) -> None:
    first = ask(client, "Hello [[simulate: tokens=5]]")
    one, two = (ask(client, text, previous_response_id=first.id) for text in ("A b", "A b c"))
    assert two.usage.input_tokens == one.usage.input_tokens + 1


def test_a_kept_response_is_retrieved_as_it_was_and_forgotten_when_deleted(client: openai.OpenAI) -> None:
    made = ask(client, "Hello")
    assert client.responses.retrieve(made.id).model_dump() == made.model_dump()
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.responses.retrieve(made.id)
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "Go on", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"


def test_what_shall_not_be_kept_is_not_and_others_cannot_see_what_is(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    hidden = ask(client, "Hello", store=False)
    assert hidden.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(hidden.id)
    kept = ask(client, "Hello")
    with openai.OpenAI(base_url=simulator.base_url, api_key="sk-other", max_retries=0) as other:
        with pytest.raises(openai.NotFoundError):
            other.responses.retrieve(kept.id)
        with pytest.raises(openai.BadRequestError):
            ask(other, "Go on", previous_response_id=kept.id)


def test_looking_costs_nothing(client: openai.OpenAI, simulator: Simulator) -> None:
    made = ask(client, "Hello")
    cost = simulator.total_nano()
    client.responses.retrieve(made.id)
    client.responses.input_items.list(made.id)
    client.responses.delete(made.id)
    assert simulator.total_nano() == cost
    assert len(simulator.bill()["requests"]) == 1


def test_input_items_are_listed_in_pages(client: openai.OpenAI) -> None:
    first = ask(client, [{"role": "user", "content": f"Part {number}"} for number in range(3)])
    second = ask(client, "More", previous_response_id=first.id)
    items = list(client.responses.input_items.list(second.id, order="asc", limit=2))
    said: list[Any] = [item.content[0].text for item in items]  # type: ignore[union-attr]
    assert said == ["Part 0", "Part 1", "Part 2", first.output_text, "More"]
    assert [item.role for item in items] == ["user", "user", "user", "assistant", "user"]  # type: ignore[union-attr]
    assert len({item.id for item in items}) == 5
    page = client.responses.input_items.list(second.id, limit=2)
    assert ([item.id for item in page.data], page.has_more) == ([items[4].id, items[3].id], True)
    assert (page.first_id, page.last_id) == (items[4].id, items[3].id)
    with pytest.raises(openai.BadRequestError):
        client.responses.input_items.list(second.id, limit=0)
    with pytest.raises(openai.NotFoundError):
        client.responses.input_items.list("resp_0")


def test_in_the_background_a_response_waits_then_runs(client: openai.OpenAI, simulator: Simulator) -> None:
    waiting = ask(client, "Hi [[simulate: first_ms=60000]]", background=True)
    assert (waiting.status, waiting.background, waiting.usage, waiting.output) == ("queued", True, None, [])
    assert client.responses.retrieve(waiting.id).status == "queued"
    assert simulator.total_nano() == 0
    running = ask(client, "Hi [[simulate: tokens=16000 pace_ms=5 first_ms=100]]", background=True)
    found, seen = wait_for(client, running.id, "in_progress")
    assert (found.usage, found.output, seen - {"queued"}) == (None, [], {"in_progress"})


def test_in_the_background_a_response_runs_to_its_end(client: openai.OpenAI, simulator: Simulator) -> None:
    made = ask(client, "Hi [[simulate: tokens=100 pace_ms=1]]", background=True)
    done, seen = wait_for(client, made.id, "completed")
    assert seen <= {"in_progress", "completed"}
    (entry,) = simulator.bill()["requests"]
    # Hi| [|[|simulate|:| tokens|=|100| pace|_|ms|=|1|]|] 15 and 7, at $2.50/M and $10/M.
    assert (done.usage.input_tokens, done.usage.output_tokens, done.service_tier) == (22, 100, "default")
    assert (entry["nano"], entry["complete"]) == (22 * 2_500 + 100 * 10_000, True)


def test_without_a_pace_it_is_over_at_once_whoever_asks(client: openai.OpenAI, simulator: Simulator) -> None:
    made = ask(client, "Hi [[simulate: tokens=2]]", background=True)
    assert made.status == "queued"
    assert simulator.bill()["requests"][0]["completion_tokens"] == 2
    assert client.responses.retrieve(made.id).status == "completed"


def test_cancelling_stops_and_bills_what_was_made(client: openai.OpenAI, simulator: Simulator) -> None:
    made = ask(client, SLOW, background=True)
    wait_for(client, made.id, "in_progress")
    stopped = client.responses.cancel(made.id)
    assert (stopped.status, stopped.usage, stopped.output) == ("cancelled", None, [])
    (entry,) = simulator.bill()["requests"]
    assert entry["completion_tokens"] < 16_000
    # Hi| [|[|simulate|:| tokens|=|160|00| pace|_|ms|=|5|]|] 16 and 7.
    assert entry["prompt_tokens"] == 23
    assert (entry["nano"], entry["complete"]) == (23 * 2_500 + entry["completion_tokens"] * 10_000, False)
    again = client.responses.cancel(made.id)
    assert again.status == client.responses.retrieve(made.id).status == "cancelled"
    assert simulator.bill()["requests"] == [entry]
    with pytest.raises(openai.BadRequestError, match="it is cancelled"):
        ask(client, "Go on", previous_response_id=made.id)


def test_cancelled_in_the_queue_it_costs_nothing(client: openai.OpenAI, simulator: Simulator) -> None:
    made = ask(client, "Hi [[simulate: first_ms=60000]]", background=True)
    assert client.responses.retrieve(made.id).status == "queued"
    assert client.responses.cancel(made.id).status == "cancelled"
    (entry,) = simulator.bill()["requests"]
    assert (entry["nano"], entry["status"], entry["complete"]) == (0, 200, False)


def test_only_background_responses_are_cancelled_and_what_is_over_stays(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(ask(client, "Hi").id)
    over = ask(client, "Hi", background=True)
    assert client.responses.cancel(over.id).status == "completed"


def test_deleting_a_running_response_stops_it(client: openai.OpenAI, simulator: Simulator) -> None:
    made = ask(client, SLOW, background=True)
    client.responses.delete(made.id)
    (entry,) = simulator.bill()["requests"]
    assert (entry["complete"], entry["completion_tokens"] < 16_000) == (False, True)


def test_a_background_failure_is_seen_when_asked(client: openai.OpenAI, simulator: Simulator) -> None:
    made = ask(client, "Hi [[simulate: tokens=10 error_in_stream=3]]", background=True)
    failed = client.responses.retrieve(made.id)
    assert (failed.status, failed.error.code, failed.usage) == ("failed", "server_error", None)
    assert simulator.bill()["requests"][0]["completion_tokens"] == 3


def test_hidden_tokens_are_made_first_in_the_background_too(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    made = ask(
        client, "Hi [[simulate: tokens=4 reasoning=4000 pace_ms=5]]", model="gpt-5-nano", background=True
    )
    wait_for(client, made.id, "in_progress")
    client.responses.cancel(made.id)
    (entry,) = simulator.bill()["requests"]
    assert entry["reasoning"] == entry["completion_tokens"] < 4_000


def test_a_background_stream_may_be_left_and_taken_up_again(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    stream = ask(client, "Hi [[simulate: tokens=60 pace_ms=10]]", background=True, stream=True)
    seen = []
    for event in stream:
        seen.append(event)
        if len(seen) == 12:
            break
    stream.close()
    assert [event.type.removeprefix("response.") for event in seen[:5]] == [
        "created", "queued", "in_progress", "output_item.added", "content_part.added"
    ]  # fmt: skip
    made = seen[0].response.id
    rest = list(client.responses.retrieve(made, stream=True, starting_after=seen[-1].sequence_number))
    numbers = [event.sequence_number for event in [*seen, *rest]]
    assert numbers == list(range(len(numbers)))
    text = "".join(event.delta for event in [*seen, *rest] if event.type == "response.output_text.delta")
    last: Any = rest[-1]
    assert (last.type, last.response.output_text) == ("response.completed", text)
    whole = list(client.responses.retrieve(made, stream=True))
    assert [event.sequence_number for event in whole] == numbers
    until(lambda: simulator.bill()["requests"][0]["complete"])
    (entry,) = simulator.bill()["requests"]
    assert entry["completion_tokens"] == 60


async def test_a_background_stream_that_is_left_is_paid_in_full(
    client: openai.OpenAI, simulator: Simulator
) -> None:
    stream = ask(client, "Hi [[simulate: tokens=30 pace_ms=10]]", background=True, stream=True)
    made = next(iter(stream)).response.id
    stream.close()
    await until_quiet(simulator)
    wait_for(client, made, "completed")
    assert simulator.bill()["requests"][0]["completion_tokens"] == 30


def test_a_stream_ends_when_its_response_is_cancelled(client: openai.OpenAI, simulator: Simulator) -> None:
    stream = ask(client, SLOW, background=True, stream=True)
    seen = [next(iter(stream))]
    client.responses.cancel(seen[0].response.id)
    seen += list(stream)
    assert seen[-1].type != "response.completed"
    assert sum(event.type == "response.output_text.delta" for event in seen) < 16_000
    assert simulator.bill()["requests"][0]["complete"] is False


def test_only_background_streams_are_taken_up(client: openai.OpenAI, http: httpx2.Client) -> None:
    made = ask(client, "Hi")
    with pytest.raises(openai.BadRequestError, match="cannot be streamed"):
        client.responses.retrieve(made.id, stream=True)
    wrong = http.get(f"/v1/responses/{made.id}?starting_after=x")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "starting_after")
    assert http.put(f"/v1/responses/{made.id}", json={}).status_code == 405


def test_what_begins_before_the_thoughts_is_told_at_once(client: openai.OpenAI, simulator: Simulator) -> None:
    text = "Hi [[simulate: reasoning=1000 pace_ms=5 tokens=1]]"
    stream = ask(client, text, model="gpt-5-nano", stream=True)
    first = next(iter(stream))
    running = simulator.open()["streams"]
    stream.close()
    assert (first.type, first.response.status, running) == ("response.created", "in_progress", 1)


def test_deleting_the_bill_forgets_what_is_kept(client: openai.OpenAI, simulator: Simulator) -> None:
    made = ask(client, SLOW, background=True)
    simulator.reset()
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    assert simulator.bill()["requests"] == []


def test_settings_hold_for_jobs(client: openai.OpenAI) -> None:
    with start_simulator(first_ms=60_000, tokens=7) as slow:
        body = {"model": "gpt-4o", "input": "Hi", "background": True}
        headers = {"authorization": "Bearer sk-test"}
        made = httpx2.post(f"{slow.base_url}/responses", json=body, headers=headers, timeout=10).json()
        found = httpx2.get(f"{slow.base_url}/responses/{made['id']}", headers=headers, timeout=10)
        assert json.loads(found.content)["status"] == "queued"
