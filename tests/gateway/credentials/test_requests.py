"""Credentials on a request's way: what the provider receives, and what the caller is told without one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.settings import ProviderSettings, RouteSettings, Settings
from tests.gateway.credentials.asked import Asked, Question, answering
from tests.gateway.credentials.test_google import TokenServer, written
from tests.gateway.credentials.test_sigv4 import SECRET, by_hand
from tests.stack import Stack, running_stack, wait_until

ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "OK"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
}


def answers(_: Question) -> tuple[int, bytes]:
    return 200, json.dumps(ANSWER).encode()


def provider(url: str, auth: Any, **more: Any) -> ProviderSettings:
    return ProviderSettings(base_url=url, auth=auth, prices="openai", **more)


@contextmanager
def stack_of(providers: dict[str, ProviderSettings], targets: list[str]) -> Iterator[Stack]:
    route = RouteSettings(targets=[{"provider": name, "model": "gpt-4o-mini"} for name in targets])  # type: ignore[list-item]
    with running_stack(Settings(providers=providers, routes={"chat": route})) as stack:
        yield stack


def asked_for(stack: Stack, model: str = "chat") -> httpx2.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Say OK."}]}
    headers = {"Authorization": f"Bearer {stack.key()}"}
    return httpx2.post(f"{stack.base_url}/chat/completions", json=body, headers=headers, timeout=30)


SENT_IN: dict[str, dict[str, str]] = {
    "bearer": {"authorization": "Bearer sk-1"},
    "token": {"authorization": "Token sk-1"},
    "api-key": {"api-key": "sk-1"},
    "x-api-key": {"x-api-key": "sk-1"},
    "x-goog-api-key": {"x-goog-api-key": "sk-1"},
    "none": {},
}


def test_a_key_is_sent_in_its_header_and_in_no_other() -> None:
    with ExitStack() as stack:
        asked = stack.enter_context(answering(answers))
        providers = {kind: provider(f"{asked.url}/v1", kind, api_key="sk-1") for kind in SENT_IN}
        gateway = stack.enter_context(stack_of(providers, ["bearer"]))
        for kind in SENT_IN:
            assert asked_for(gateway, f"{kind}/gpt-4o-mini").status_code == 200
    names = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
    for question, expected in zip(asked.questions, SENT_IN.values(), strict=True):
        assert {name: question.headers[name] for name in names if name in question.headers} == expected


def test_amazon_gets_a_signature_of_what_was_really_sent() -> None:
    auth = {
        "kind": "sigv4",
        "region": "eu-west-1",
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": SECRET,
        "session_token": "session-1",
    }
    with ExitStack() as stack:
        asked = stack.enter_context(answering(answers))
        gateway = stack.enter_context(stack_of({"aws": provider(f"{asked.url}/openai/v1", auth)}, ["aws"]))
        answer = asked_for(gateway)
        assert answer.status_code == 200
        event = gateway.event(answer.headers["x-request-id"])
    (question,) = asked.questions
    made = {name.encode(): value.encode() for name, value in question.headers.items()}
    scope = [question.headers["x-amz-date"][:8], "eu-west-1", "bedrock", "aws4_request"]
    sent = {"content-type": question.headers["content-type"]}
    assert question.headers["x-amz-security-token"] == "session-1"
    assert question.headers["authorization"].endswith(
        by_hand(made, question.headers["host"], question.path, sent, question.body, scope)
    )
    assert (event.status, event.provider) == ("succeeded", "aws")


@pytest.mark.wide
def test_google_gets_the_token_and_a_refused_one_is_replaced(tmp_path: Path, key: rsa.RSAPrivateKey) -> None:
    tokens, refused = TokenServer(key), threading.Event()

    def serve(question: Question) -> tuple[int, bytes]:
        if question.headers["authorization"] != "Bearer token-2":
            refused.set()
            return (
                401,
                b'{"error": {"code": 401, "message": "token-1 was revoked", "status": "UNAUTHENTICATED"}}',
            )
        return answers(question)

    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr("gateway.credentials.lease.REJECTED_EVERY_S", 0.0)
        asked, giver = (stack.enter_context(answering(each)) for each in (serve, tokens))
        auth = {"kind": "google", "credentials_file": str(written(tmp_path / "a.json", key, giver.url))}
        gateway = stack.enter_context(stack_of({"vertex": provider(asked.url, auth)}, ["vertex"]))
        first = asked_for(gateway)
        assert refused.is_set()
        assert first.status_code == 502
        assert "token-1" not in first.text
        wait_until(lambda: asked_for(gateway).status_code == 200)
        assert tokens.given >= 2
    assert asked.questions[-1].headers["authorization"] == "Bearer token-2"


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def chat() -> Iterator[Asked]:
    with answering(answers) as asked:
        yield asked


@pytest.mark.wide
@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ((400, {"error": "invalid_grant"}), 500, "misconfigured"),
        ((408, {"error": "temporarily_unavailable"}), 502, "upstream_error"),
    ],
)
def test_without_a_token_the_caller_is_told_that_it_is_not_its_fault(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    key: rsa.RSAPrivateKey,
    chat: Asked,
    given: tuple[int, dict[str, str]],
    status: int,
    code: str,
) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)
    tokens = TokenServer(key)
    tokens.refuses = given
    with answering(tokens) as giver:
        auth = {"kind": "google", "credentials_file": str(written(tmp_path / "a.json", key, giver.url))}
        providers = {"vertex": provider(chat.url, auth)}
        with stack_of(providers, ["vertex"]) as stack:
            answer = asked_for(stack)
            event = stack.event(answer.headers["x-request-id"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["x-should-retry"] == "false"
    assert "'vertex'" in answer.json()["error"]["message"]
    assert chat.questions == []
    assert event.cost_nano == 0
    assert [(each.status, each.error_class) for each in event.attempts] == [("failed", "CredentialFault")]


@pytest.mark.wide
def test_without_a_token_the_route_goes_on_to_another_provider(chat: Asked) -> None:
    auth = {"kind": "google", "credentials_file": "/nonexistent/account.json"}
    providers = {
        "vertex": provider("https://aiplatform.googleapis.com", auth),
        "other": provider(f"{chat.url}/v1", "bearer", api_key="sk-1"),
    }
    with stack_of(providers, ["vertex", "other"]) as stack:
        answer = asked_for(stack)
        event = stack.event(answer.headers["x-request-id"])
    assert answer.status_code == 200
    assert [(each.kind, each.provider, each.status) for each in event.attempts] == [
        ("primary", "vertex", "failed"),
        ("fallback", "other", "succeeded"),
    ]
