"""Every row of the error table through Google's own client: its class, Google's status, our reason, tries.

The client repeats nothing unless it is told to; with `retry_options` it goes by the status alone, as Google's
own servers want it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from google import genai
from google.genai import errors, types

from gateway.settings import Settings
from simulator.process import Simulator
from tests.clients.wire import NAME
from tests.clients.world import BODY_BYTES_MAX, World
from tests.gateway.gemini.conftest import FLASH, providers, said
from tests.stack import Stack

pytestmark = pytest.mark.wide


@dataclass(frozen=True, slots=True)
class Row:
    """One case: what is asked, and what Google's client must make of it. `tries`: on the wire."""

    name: str
    status: int
    word: str
    reason: str | None
    text: str = "Hello"
    config: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    model: str = f"gemini/{FLASH}"
    stream: bool = False
    retries: int = 1
    tries: int = 1


SEARCH = types.Tool(google_search=types.GoogleSearch())
ROWS = (
    Row("malformed key", 401, "UNAUTHENTICATED", "invalid_api_key"),
    Row("unknown key", 401, "UNAUTHENTICATED", "invalid_api_key"),
    Row("revoked key", 401, "UNAUTHENTICATED", "invalid_api_key", retries=3),
    Row("expired key", 401, "UNAUTHENTICATED", "invalid_api_key"),
    Row("two keys", 401, "UNAUTHENTICATED", "conflicting_credentials", headers={"api-key": "obs_another"}),
    Row("no scope", 403, "PERMISSION_DENIED", "insufficient_scope"),
    Row("another's customer", 403, "PERMISSION_DENIED", "customer_not_allowed",
        headers={"Observe-Customer": "somebody"}),
    Row("not entitled", 403, "PERMISSION_DENIED", "entitlement_denied",
        headers={"Observe-Customer": "unknown"}),
    Row("budget spent", 402, "FAILED_PRECONDITION", "budget_exceeded", retries=3),
    Row("budget held", 429, "RESOURCE_EXHAUSTED", "budget_reserved", config={"max_output_tokens": 160}),
    Row("too many at once", 429, "RESOURCE_EXHAUSTED", "rate_limit_exceeded", retries=2, tries=2),
    Row("rate", 429, "RESOURCE_EXHAUSTED", "rate_limit_exceeded"),
    Row("unknown model", 404, "NOT_FOUND", "model_not_found", model="nonesuch-9", retries=3),
    Row("no such surface", 400, "INVALID_ARGUMENT", "surface_not_supported", model="simulated/gpt-4o-mini"),
    Row("wrong type", 400, "INVALID_ARGUMENT", "invalid_value", config={"max_output_tokens": 0}, retries=3),
    Row("attribution conflict", 400, "INVALID_ARGUMENT", "attribution_conflict",
        headers={"Observe-Customer": "acme", "X-Customer-Id": "bolt"}),
    Row("too large", 413, "INVALID_ARGUMENT", "request_too_large", text="x" * BODY_BYTES_MAX),
    Row("no price", 400, "INVALID_ARGUMENT", "model_not_priced", model="gemini/ghost"),
    Row("no bound", 400, "INVALID_ARGUMENT", "unbounded_request", config={"tools": [SEARCH]}),
    Row("ledger away", 503, "UNAVAILABLE", "ledger_unavailable", retries=2, tries=2),
    Row("draining", 503, "UNAVAILABLE", "draining"),
    Row("provider fails", 502, "INTERNAL", "upstream_error", text=said("Hello", "status=500")),
    Row("provider refuses our key", 502, "INTERNAL", "upstream_error", text=said("Hello", "status=401")),
    Row("provider silent", 504, "DEADLINE_EXCEEDED", "upstream_timeout",
        text=said("Hello", "hang=before_headers")),
    Row("provider unreachable", 502, "INTERNAL", "upstream_error",
        text=said("Hello", "reset_after_bytes=0")),
    Row("provider refuses the request", 400, "INVALID_ARGUMENT", None, text=said("Hello", "status=400")),
    Row("provider's rate", 429, "RESOURCE_EXHAUSTED", None, text=said("Hello", "status=429 retry_after=30")),
    Row("provider fails before a stream", 502, "INTERNAL", "upstream_error",
        text=said("Hello", "status=500"), stream=True),
    Row("refused before a stream", 404, "NOT_FOUND", "model_not_found", model="nonesuch-9", stream=True),
)  # fmt: skip


class GoogleWorld(World):
    """The same states, with Google's providers beside the usual one."""

    def settings(self) -> Settings:
        settings = super().settings()
        known = providers(self._simulator.root)
        for each in known.values():
            each["timeouts"] = settings.providers["simulated"].timeouts.model_dump()
        known["gemini"]["models"] = [FLASH, "ghost"]
        added = Settings.model_validate({"providers": known}).providers
        return settings.model_copy(update={"providers": {**settings.providers, **added}})


@pytest.fixture(scope="module")
def world(simulator: Simulator) -> Iterator[World]:
    with GoogleWorld.built(simulator) as built:
        yield built


def ask(world: World, row: Row) -> errors.APIError | None:
    """What Google's client raises."""
    place = world.place_of(row.name)
    options = types.HttpOptions(
        base_url=place.wire.base_url.removesuffix("/v1"),
        timeout=60_000,
        headers={**row.headers, NAME: f"google {row.name}"},
        retry_options=types.HttpRetryOptions(attempts=row.retries, initial_delay=0.01, max_delay=0.02),
    )
    with genai.Client(api_key=place.secret, http_options=options) as client:
        wanted: Any = {"model": row.model, "contents": row.text, "config": row.config}
        try:
            if row.stream:
                list(client.models.generate_content_stream(**wanted))
            else:
                client.models.generate_content(**wanted)
        except errors.APIError as error:
            return error
    return None


@pytest.fixture(scope="module")
def raised(world: World) -> dict[str, errors.APIError | None]:
    with ThreadPoolExecutor(len(ROWS)) as pool:
        found = pool.map(lambda row: ask(world, row), ROWS)
        return dict(zip([row.name for row in ROWS], found, strict=True))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_googles_client_raises_its_own_class(
    raised: dict[str, errors.APIError | None], world: World, row: Row
) -> None:
    error = raised[row.name]
    assert type(error) is (errors.ClientError if row.status < 500 else errors.ServerError)
    assert error is not None
    assert (error.code, error.status) == (row.status, row.word)
    assert error.message
    assert world.tries_of(row.name, "google") == row.tries
    details = {each["@type"].rpartition(".")[2]: each for each in error.details["error"].get("details", ())}
    if row.reason is not None:
        info = details["ErrorInfo"]
        assert (info["reason"], info["domain"]) == (row.reason, "tollkeeper")
        assert error.response is not None
        assert info["metadata"]["request_id"] == error.response.headers["x-request-id"]
    if row.status in (429, 503):
        assert int(details["RetryInfo"]["retryDelay"].removesuffix("s")) > 0


def test_no_key_of_a_provider_is_told(raised: dict[str, errors.APIError | None]) -> None:
    assert not [name for name, error in raised.items() if "AIza" in repr(error and error.details)]


def test_every_refused_request_has_one_event_at_most(world: World) -> None:
    def ids(stack: Stack) -> list[str]:
        return [event.id for event in stack.events()]

    for stack in world.stacks[:2]:
        assert len(ids(stack)) == len(set(ids(stack)))
