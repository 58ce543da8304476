"""What happens to running requests of a key that is revoked, and to the keys of former secrets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from gateway.settings import LedgerSettings, ProviderSettings, Settings
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack, wait_until

HEARTBEAT_S = 0.4
MODEL = "gpt-4o-mini"


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    ledger = LedgerSettings(heartbeat_ms=int(HEARTBEAT_S * 1_000), lease_ms=2_000)
    with running_stack(simulated_settings(simulator, ledger=ledger)) as started:
        yield started


def sdk(stack: Stack, secret: str) -> OpenAI:
    return OpenAI(base_url=stack.base_url, api_key=secret, max_retries=0)


def ask(client: OpenAI, words: str, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": words}], **more)


def test_a_running_stream_is_cut_within_a_heartbeat_and_settled(stack: Stack, simulator: Simulator) -> None:
    secret, other = stack.key(limits={"month": 10**9}), stack.key()
    words = "[[simulate: tokens=6000 pace_ms=10]]"  # a minute, were it not cut
    with sdk(stack, secret) as client, sdk(stack, other) as untouched:
        stream, second = ask(client, words, stream=True), ask(untouched, words, stream=True)
        next(iter(stream)), next(iter(second))
        stack.revoke(secret)
        revoked_s = time.monotonic()
        with pytest.raises(openai.APIError, match="revoked") as cut:
            for _ in stream:
                pass
        print(f"cut {time.monotonic() - revoked_s:.2f} s after the revocation, heartbeats {HEARTBEAT_S} s")
        assert time.monotonic() - revoked_s < 20
        assert cut.value.code == "invalid_api_key"
        for _ in range(20):
            next(iter(second))
        second.close()
        event = stack.event(stream.response.headers["x-request-id"])
    assert (event.status, event.error_code) == ("cut", "key_revoked")
    assert event.cost_nano
    assert event.cost_nano > 0
    wait_until(lambda: stack.open_requests() == 0)
    (counters,) = stack.counters(secret).values()
    assert counters["reserved"] == 0
    assert counters["spent"] == event.cost_nano
    (billed,) = simulator.bill(event.id)["requests"]
    assert int(billed["nano"]) <= counters["spent"] + counters["doubted"]


def test_a_whole_answer_that_runs_is_cut_with_the_word_for_it(stack: Stack) -> None:
    secret = stack.key()
    words = "[[simulate: hang=after_headers]]"  # beyond the provider's patience of 20 s
    with sdk(stack, secret) as client:
        told: list[Exception] = []

        def run() -> None:
            try:
                ask(client, words)
            except openai.APIStatusError as error:
                told.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: stack.open_requests() == 1)
        time.sleep(0.3)
        stack.revoke(secret)
        thread.join(60)
    (error,) = told
    assert isinstance(error, openai.AuthenticationError)
    assert error.code == "invalid_api_key"
    assert error.request_id
    assert stack.event(error.request_id).status == "failed"


def test_streams_of_children_end_with_their_parent(stack: Stack) -> None:
    parent = stack.key(scopes=("proxy.chat", "models.read"))
    parent_id = stack.records[parent]
    child = stack.key(parent=parent_id)
    with sdk(stack, child) as client:
        stream = ask(client, "[[simulate: tokens=2000 pace_ms=10]]", stream=True)
        next(iter(stream))
        stack.revoke(parent)
        with pytest.raises(openai.APIError, match="revoked"):
            for _ in stream:
                pass
        with pytest.raises(openai.AuthenticationError):
            ask(client, "again")


def test_what_a_child_spends_counts_on_its_parent_and_the_parents_limit_refuses_it(stack: Stack) -> None:
    parent = stack.key(limits={"month": 20_000})
    child = stack.key(parent=stack.records[parent], limits={"month": 10**9})
    sibling = stack.key(parent=stack.records[parent])
    with sdk(stack, child) as client, sdk(stack, sibling) as other, sdk(stack, parent) as above:
        ask(client, "[[simulate: tokens=10]]", max_tokens=10)
        (spent,) = stack.counters(child).values()
        assert stack.counters(parent) == stack.counters(child)
        assert spent["spent"] > 0
        stack.set_limit(parent, "month", spent["spent"] + 1)
        for each in (client, other, above):
            with pytest.raises(openai.APIStatusError) as refused:
                ask(each, "[[simulate: tokens=10]]", max_tokens=10)
            assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
        stack.limits.clear("key", stack.records[parent], "money", "month")
        ask(client, "[[simulate: tokens=10]]", max_tokens=10)


@pytest.mark.wide
def test_both_secrets_work_during_the_overlap_and_the_old_one_not_after_it(stack: Stack) -> None:
    old = stack.key()
    key_id = stack.records[old]
    new, _ = stack.keyring.rotate(key_id, overlap_ms=5_000)
    ends_s = time.monotonic() + 5
    with sdk(stack, old) as before, sdk(stack, new) as after:
        for client in (before, after):
            raw = client.chat.completions.with_raw_response.create(
                model=MODEL, messages=[{"role": "user", "content": "[[simulate: tokens=2]]"}]
            )
            assert stack.event(raw.headers["x-request-id"]).key_id == key_id
            client.models.list()
        time.sleep(max(0.0, ends_s - time.monotonic()) + 0.1)
        for use in (lambda: ask(before, "x"), before.models.list):
            with pytest.raises(openai.AuthenticationError) as refused:
                use()
            assert refused.value.code == "invalid_api_key"
        ask(after, "[[simulate: tokens=2]]")


def test_a_rotation_without_overlap_ends_the_old_secret_for_the_next_paid_call(stack: Stack) -> None:
    old = stack.key()
    with sdk(stack, old) as client:
        ask(client, "[[simulate: tokens=2]]")
        new, _ = stack.keyring.rotate(stack.records[old])
        with pytest.raises(openai.AuthenticationError):
            ask(client, "[[simulate: tokens=2]]")
    with sdk(stack, new) as client:
        ask(client, "[[simulate: tokens=2]]")


def test_routes_and_models_of_a_key(stack: Stack) -> None:
    by_name = stack.key(routes=("gpt-4o*",))
    by_model = stack.key(models=("simulated/gpt-4o*",))
    for secret in (by_name, by_model):
        with sdk(stack, secret) as client:
            ask(client, "[[simulate: tokens=2]]")
            with pytest.raises(openai.PermissionDeniedError) as refused:
                client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "x"}])
            assert (refused.value.code, refused.value.param) == ("model_not_allowed", "model")
    with sdk(stack, by_name) as client:
        listed = [model.id for model in client.models.list()]
        assert listed
        assert all(name.startswith("gpt-4o") for name in listed)
        with pytest.raises(openai.PermissionDeniedError):
            client.models.retrieve("gpt-4.1")
    with sdk(stack, by_model) as client:
        assert [model.id for model in client.models.list()] == listed


def test_a_change_of_a_key_holds_for_its_next_request(stack: Stack) -> None:
    secret = stack.key()
    with sdk(stack, secret) as client:
        ask(client, "[[simulate: tokens=2]]")
        stack.keyring.update(stack.records[secret], required=("Observe-Task-Id",), sources=("metadata",))
        with pytest.raises(openai.BadRequestError) as refused:
            ask(client, "[[simulate: tokens=2]]")
        assert (refused.value.code, refused.value.param) == ("missing_required_header", "Observe-Task-Id")
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL,
            messages=[{"role": "user", "content": "[[simulate: tokens=2]]"}],
            metadata={"task_id": "t-9", "customer": "acme", "feature": "chat"},
        )
        event = stack.event(raw.headers["x-request-id"])
        assert (event.task_id, event.customer, event.feature) == ("t-9", "acme", "chat")
        stack.keyring.update(stack.records[secret], required=(), expires_ms=1)
        with pytest.raises(openai.AuthenticationError):
            ask(client, "[[simulate: tokens=2]]")


def test_what_a_key_was_just_given_is_not_refused_by_an_old_copy(stack: Stack) -> None:
    secret = stack.key(scopes=("models.read",), routes=("fast",), assertion="none")
    headers = {"Observe-Customer": "acme"}
    with sdk(stack, secret) as client:
        for change, code in (
            ({"scopes": ("proxy.chat",)}, "insufficient_scope"),
            ({"routes": ()}, "model_not_allowed"),
            ({"assertion": "any"}, "customer_not_allowed"),
        ):
            with pytest.raises(openai.PermissionDeniedError) as refused:
                ask(client, "[[simulate: tokens=2]]", extra_headers=headers)
            assert refused.value.code == code
            stack.keyring.update(stack.records[secret], **change)
        ask(client, "[[simulate: tokens=2]]", extra_headers=headers)


@pytest.mark.parametrize("narrowed", [{"routes": ("fast",)}, {"models": ("simulated/gpt-4.1",)}])
def test_what_a_key_may_no_longer_ask_for_is_refused_at_once(stack: Stack, narrowed: dict[str, Any]) -> None:
    secret = stack.key()
    with sdk(stack, secret) as client:
        ask(client, "[[simulate: tokens=2]]")
        stack.keyring.update(stack.records[secret], **narrowed)
        with pytest.raises(openai.PermissionDeniedError) as refused:
            ask(client, "[[simulate: tokens=2]]")
        assert refused.value.code == "model_not_allowed"


def test_conflicting_headers_and_customers_that_are_not_the_keys(stack: Stack) -> None:
    secret = stack.key(assertion="listed", customers=("acme",))
    with sdk(stack, secret) as client:
        headers = {"Observe-Customer": "acme", "X-Customer-Id": "globex"}
        with pytest.raises(openai.BadRequestError) as conflict:
            ask(client, "x", extra_headers=headers)
        assert conflict.value.code == "attribution_conflict"
        with pytest.raises(openai.PermissionDeniedError) as refused:
            ask(client, "x", extra_headers={"X-Litellm-Customer-Id": "globex"})
        assert refused.value.code == "customer_not_allowed"
        for error in (conflict.value, refused.value):
            assert error.request_id
            assert error.response.headers["x-should-retry"] == "false"


def test_the_tables_headers_never_go_upstream_and_the_bodys_metadata_does() -> None:
    """What the provider was sent, as a socket in its place sees it."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def serve() -> None:
        raw, _ = listener.accept()
        with raw:
            data = b""
            while not data.endswith(b"}}"):
                data += raw.recv(65_536)
            seen.append(data)
            body = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
            raw.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                % (len(body), body)
            )

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    provider = ProviderSettings(base_url=base, api_key="sk-up", prices="openai")  # type: ignore[arg-type]
    headers = {
        "observe-customer": "acme",
        "observe-property-env": "prod",
        "x-feature-key": "chat",
        "helicone-user-id": "u-1",
        "helicone-property-app": "web",
        "x-portkey-metadata": '{"k":"v"}',
        "x-bf-dim-team": "red",
        "baggage": "obs.trace_id=t",
        "idempotency-key": "k",
        "x-stainless-retry-count": "1",
        "cookie": "c=1",
    }
    with running_stack(Settings(providers={"up": provider})) as own:
        secret = own.key()
        body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "metadata": {"mine": "kept"}}
        answer = httpx2.post(
            f"{own.base_url}/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {secret}", **headers},
            timeout=60,
        )
    thread.join(60)
    listener.close()
    assert answer.status_code == 200, answer.text
    head, _, sent = seen[0].partition(b"\r\n\r\n")
    names = {line.partition(b":")[0].lower().decode() for line in head.split(b"\r\n")[1:]}
    assert not names & (headers.keys() | {"observe-customer"})
    assert secret.encode() not in seen[0]
    assert b'"metadata":{"mine":"kept"}' in sent
