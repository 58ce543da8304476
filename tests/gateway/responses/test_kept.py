"""Where an answer is kept is noted beside its request's close: neither waits for the other, or loses it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from hiredis import ReplyError

from tests.stack import Stack

pytestmark = pytest.mark.wide

MODEL = "gpt-4o-mini"
HUNG_S = 20.0


def ask(stack: Stack, secret: str, **fields: Any) -> httpx2.Response:
    body = {"model": MODEL, "input": "Hello. [[simulate: tokens=5]]", **fields}
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx2.post(f"{stack.base_url}/responses", json=body, headers=headers, timeout=60)


def look(stack: Stack, secret: str, answer: httpx2.Response) -> int:
    headers = {"Authorization": f"Bearer {secret}"}
    url = f"{stack.base_url}/responses/{answer.json()['id']}"
    return httpx2.get(url, headers=headers, timeout=60).status_code


def test_the_close_does_not_wait_until_an_answer_is_remembered_but_its_caller_does(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, closed = stack.gateway.parts, asyncio.Event()
    command, close = parts.stored._command, parts.closer.close
    remembered = False

    async def after_the_close(*words: Any) -> Any:
        nonlocal remembered
        if words[0] == "SET":
            await asyncio.wait_for(closed.wait(), HUNG_S)
            remembered = True
        return await command(*words)

    async def closing(*told: Any) -> bool:
        done = await close(*told)
        stack.loop.call_later(0.05, closed.set)
        return done

    monkeypatch.setattr(parts.stored, "_command", after_the_close)
    monkeypatch.setattr(parts.closer, "close", closing)
    secret = stack.key()
    answer = ask(stack, secret)
    assert answer.status_code == 200
    assert remembered
    assert look(stack, secret, answer) == 200


@pytest.mark.parametrize("background", [False, True])
def test_an_answer_that_cannot_be_remembered_is_answered_and_settled_all_the_same(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    command = stack.gateway.parts.stored._command

    async def full(*words: Any) -> Any:
        if words[0] == "SET":
            raise ReplyError("OOM command not allowed when used memory > 'maxmemory'.")
        return await command(*words)

    monkeypatch.setattr(stack.gateway.parts.stored, "_command", full)
    secret = stack.key()
    answer = ask(stack, secret, background=background)
    assert answer.status_code == 200
    event = stack.event(answer.headers["x-request-id"])
    assert (event.status, event.cost_status) == ("succeeded", "priced")
    assert look(stack, secret, answer) == 404
