"""Keys with a list of models, on routes whose targets speak different dialects: what serves them, what is
refused, and what is listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from gateway.settings import ProviderSettings, RouteSettings, Settings, TargetSettings
from gateway.settings.provider import DEFAULT_PATHS
from simulator.process import Simulator
from tests.gateway.anthropic.conftest import HAIKU, settings
from tests.gateway.conftest import PATIENT
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.wide

MODEL = "gpt-4o-mini"
HELLO = [{"role": "user", "content": "Hello. [[simulate: tokens=5]]"}]
NOT_ALLOWED = (403, "model_not_allowed")


def openai_like(simulator: Simulator, prices: str = "openai", **paths: str) -> ProviderSettings:
    return ProviderSettings(
        base_url=simulator.base_url,
        api_key="sk-simulated",  # type: ignore[arg-type]
        prices=prices,
        timeouts=PATIENT,
        paths=DEFAULT_PATHS | paths,
    )


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    """`mixed` goes to two dialects, `answers` to two providers that keep responses. The first provider offers
    the Anthropic models, too, and knows no messages: for these the second serves them."""
    anthropic = settings(simulator.root).providers["anthropic"]
    providers = {
        "reseller": openai_like(simulator, "anthropic"),
        "anthropic": anthropic,
        "copy": anthropic,
        "openai": openai_like(simulator, responses="/responses"),
        "other": openai_like(simulator, responses="/responses"),
    }
    mixed = [
        TargetSettings(provider="openai", model=MODEL),
        TargetSettings(provider="anthropic", model=HAIKU),
    ]
    answers = [TargetSettings(provider=name, model=MODEL) for name in ("openai", "other")]
    routes = {"mixed": RouteSettings(targets=mixed), "answers": RouteSettings(targets=answers)}
    with running_stack(Settings(providers=providers, routes=routes)) as started:
        yield started


def message(stack: Stack, secret: str, model: str) -> httpx2.Response:
    return _post(stack, secret, "/messages", {"model": model, "max_tokens": 30, "messages": HELLO})


def chat(stack: Stack, secret: str, model: str) -> httpx2.Response:
    return _post(stack, secret, "/chat/completions", {"model": model, "messages": HELLO})


def response(stack: Stack, secret: str, model: str, **fields: Any) -> httpx2.Response:
    return _post(stack, secret, "/responses", {"model": model, "input": "Hello.", **fields})


def _post(stack: Stack, secret: str, path: str, body: dict[str, Any]) -> httpx2.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    return httpx2.post(f"{stack.base_url}{path}", json=body, headers=headers, timeout=60)


def told(answer: httpx2.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json().get("error", {}).get("code")


def listed(stack: Stack, secret: str, **headers: str) -> set[str]:
    headers = {"x-api-key": secret, **headers}
    answer = httpx2.get(f"{stack.base_url}/models?limit=1000", headers=headers, timeout=60)
    return {model["id"] for model in answer.json()["data"]}


def test_a_target_that_a_key_may_use_but_that_does_not_speak_its_dialect_is_of_no_use(stack: Stack) -> None:
    by_openai, by_anthropic = stack.key(models=("openai/*",)), stack.key(models=("anthropic/*",))
    assert chat(stack, by_openai, "mixed").headers["observe-provider"] == "openai"
    assert message(stack, by_anthropic, "mixed").headers["observe-provider"] == "anthropic"
    for refused in (message(stack, by_openai, "mixed"), chat(stack, by_anthropic, "mixed")):
        assert told(refused) == NOT_ALLOWED
        assert refused.json()["error"]["param"] == "model"
    # It is listed for whom some request is served, and for Anthropic's clients where it is one of theirs.
    anthropics = {"anthropic-version": "2023-06-01"}
    for secret, speaking in ((by_openai, False), (by_anthropic, True)):
        assert "mixed" in listed(stack, secret)
        assert ("mixed" in listed(stack, secret, **anthropics)) is speaking


def test_a_model_of_a_later_provider_serves_those_whom_the_first_cannot(stack: Stack) -> None:
    reseller, anthropic, copy = (
        stack.key(models=(f"{name}/*",)) for name in ("reseller", "anthropic", "copy")
    )
    assert chat(stack, reseller, HAIKU).headers["observe-provider"] == "reseller"
    assert message(stack, anthropic, HAIKU).headers["observe-provider"] == "anthropic"
    refused = [message(stack, reseller, HAIKU), chat(stack, anthropic, HAIKU)]
    refused += [message(stack, copy, HAIKU), chat(stack, copy, HAIKU)]
    assert [told(each) for each in refused] == [NOT_ALLOWED] * 4
    # The third never serves it under this name, whatever is asked.
    assert [HAIKU in listed(stack, each) for each in (reseller, anthropic, copy)] == [True, True, False]
    anthropics = {"anthropic-version": "2023-06-01"}
    named = [HAIKU in listed(stack, each, **anthropics) for each in (reseller, anthropic, copy)]
    assert named == [False, True, False]


def test_who_may_not_use_the_provider_that_keeps_an_answer_cannot_go_on_from_it(stack: Stack) -> None:
    anybody, other = stack.key(), stack.key(models=("other/*",))
    kept = response(stack, anybody, "answers")
    assert kept.headers["observe-provider"] == "openai"
    kept_id = kept.json()["id"]
    assert told(response(stack, other, "answers", previous_response_id=kept_id)) == NOT_ALLOWED
    # By the key as it is, not as this worker met it.
    stack.keyring.update(stack.records[other], models=("openai/*", "other/*"))
    went_on = response(stack, other, "answers", previous_response_id=kept_id)
    assert (went_on.status_code, went_on.headers["observe-provider"]) == (200, "openai")
