"""Where requests go is the operator's decision alone: no client and no provider can name another place."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx2
import pytest

from tests.stack import Stack


class Canary:
    """A listening socket that counts who comes."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.visits = 0
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        while True:
            try:
                visitor, _ = self.socket.accept()
            except OSError:
                return
            self.visits += 1
            visitor.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    one = Canary()
    yield one
    one.socket.close()


def test_no_header_and_no_field_of_a_body_sends_a_request_elsewhere(stack: Stack, canary: Canary) -> None:
    secret = stack.key()
    names = ("base_url", "api_base", "api_url", "endpoint", "host", "proxy", "custom_host", "azure_endpoint")
    names_of_headers = (
        "Host",
        "X-Portkey-Custom-Host",
        "X-Base-Url",
        "Helicone-Target-Url",
        "Helicone-OpenAI-Api-Base",
        "X-Forwarded-Host",
        "X-Original-Url",
        "X-Rewrite-Url",
        "Forwarded",
        "Proxy",
    )
    headers = dict.fromkeys(names_of_headers, canary.address)
    message = {"role": "user", "content": "[[simulate: tokens=2]]"}
    with httpx2.Client(headers={"Authorization": f"Bearer {secret}", **headers}, timeout=60) as client:
        for name in names:
            body = {"model": "gpt-4o-mini", "messages": [message], name: canary.address}
            body["metadata"] = {name: canary.address}
            answer = client.post(f"{stack.base_url}/chat/completions", json=body)
            assert answer.status_code in (200, 400), answer.text
        for model in (canary.address, f"simulated/{canary.address}", f"{canary.address}/gpt-4o-mini"):
            answer = client.post(
                f"{stack.base_url}/chat/completions", json={"model": model, "messages": [message]}
            )
            assert answer.status_code >= 400
        assert client.post(f"{stack.base_url}/chat/completions?base_url={canary.address}").status_code == 400
    assert canary.visits == 0


def test_a_redirect_of_the_provider_is_not_followed(stack: Stack, canary: Canary) -> None:
    secret = stack.key()
    text = f"[[simulate: redirect={canary.address}/v1/chat/completions]]"
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    with httpx2.Client(headers={"Authorization": f"Bearer {secret}"}, timeout=60) as client:
        answer = client.post(f"{stack.base_url}/chat/completions", json=body)
    assert answer.status_code == 502
    assert "location" not in answer.headers
    assert canary.visits == 0
