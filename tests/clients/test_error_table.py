"""Every row of the error table through the official SDKs: their class, their retries, the request's id.

Rows are tried all at once, each on the gateway that stands in its state; tries are counted on the wire.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.clients.node_sdk import ask, installed
from tests.clients.wire import NAME
from tests.clients.world import ROWS, Place, Row, World

PYTHON, NODE = 0, 1
Outcome = dict[str, Any]


def job(row: Row, place: Place, client: str) -> dict[str, Any]:
    """What a client is told to do, under a name that the wire will see."""
    return {
        "base_url": place.wire.base_url,
        "api_key": place.secret,
        "retries": row.retries,
        "method": row.method,
        "body": dict(row.body),
        "headers": {**row.headers, NAME: f"{client} {row.name}"},
    }


def ask_python(told: dict[str, Any]) -> Outcome:
    with OpenAI(
        base_url=told["base_url"], api_key=told["api_key"], max_retries=told["retries"], timeout=60
    ) as client:
        target: Any = client
        for name in told["method"].split("."):
            target = getattr(target, name)
        body = dict(told["body"])
        named = ("model", "messages", "prompt", "input", "stream")
        known = {key: body.pop(key) for key in named if key in body}
        if told["method"] in ("embeddings", "moderations"):
            known.setdefault("input", openai.omit)
        try:
            answer = target.create(**known, extra_body=body, extra_headers=told["headers"])
            return {"value": list(answer) if known.get("stream") else answer}
        except openai.APIError as error:
            return {
                "error": type(error).__name__,
                "status": getattr(error, "status_code", None),
                "code": error.code,
                "request_id": getattr(error, "request_id", None),
                "message": error.message,
            }


@pytest.fixture(scope="module")
def by_python(world: World) -> dict[str, Outcome]:
    with ThreadPoolExecutor(len(ROWS)) as pool:
        outcomes = pool.map(ask_python, [job(row, world.place(row), "python") for row in ROWS])
        return dict(zip([row.name for row in ROWS], outcomes, strict=True))


@pytest.fixture(scope="module")
def by_node(world: World, request: pytest.FixtureRequest) -> dict[str, Outcome]:
    assert request.config.cache is not None
    folder = installed(request.config.cache)
    outcomes = ask(folder, [job(row, world.place(row), "node") for row in ROWS])
    return dict(zip([row.name for row in ROWS], outcomes, strict=True))


def check(row: Row, outcome: Outcome, tries: int, client: int) -> None:
    assert tries == row.tries, outcome
    assert outcome.get("error") == row.error[client], outcome
    assert outcome["status"] == row.status, outcome
    if row.code is not None:
        assert outcome["code"] == row.code, outcome
    if row.status is not None:
        assert outcome["request_id"], outcome


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_openai_python_raises_its_own_class(row: Row, world: World, by_python: dict[str, Outcome]) -> None:
    check(row, by_python[row.name], world.tries(row, "python"), PYTHON)


@pytest.mark.wide
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_openai_node_raises_its_own_class(row: Row, world: World, by_node: dict[str, Outcome]) -> None:
    check(row, by_node[row.name], world.tries(row, "node"), NODE)
