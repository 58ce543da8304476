"""`*` stands for each, so nothing is called so: wherever a name is told, it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from accounts.scope import ADMIN
from simulator.process import Simulator
from tests.gateway.api.asking import Asker, chat
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.wide


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    with running_stack(simulated_settings(simulator), api=True) as started:
        yield started


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Iterator[Asker]:
    with httpx2.Client(base_url=stack.base_url.removesuffix("/v1"), timeout=60) as http:
        yield Asker(http, stack.key(scopes=(ADMIN,)))


@pytest.mark.parametrize(
    "header", ["Observe-Customer", "Observe-Feature", "Observe-Workspace", "Observe-Trace-Id"]
)
def test_no_request_is_for_it(stack: Stack, header: str) -> None:
    secret = stack.key()
    refused = chat(stack, secret, **{header: "*"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, header.lower())
    assert "not * alone" in refused.json()["error"]["message"]
    assert chat(stack, secret, **{header: "**"}).status_code == 200


NAMED = {"eventName": "e", "customerReferenceId": "acme", "featureKey": "search", "costAmount": 1}
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/api/customers", {"customer_id": "*"}),
    ("/api/v1/client/customers", {"customerReferenceId": "*", "email": "a@b.example"}),
    ("/api/customers/acme/workspaces", {"workspace": "*"}),
    ("/api/features", {"feature_key": "*"}),
    ("/api/sdk-keys", {"name": "bound", "customer_id": "*"}),
    ("/api/sdk-keys", {"name": "bound", "feature_key": "*"}),
    ("/api/sdk-keys", {"name": "listed", "assertion": "listed", "customers": ["acme", "*"]}),
    ("/api/sdk-keys", {"name": "usual", "default_customer": "*"}),
    ("/api/v1/client/entitlements/check", {"customerReferenceId": "*", "featureKey": "search"}),
    ("/api/v1/client/entitlements", {"customerReferenceId": "acme", "featureKey": "*"}),
    ("/api/v1/client/events", {**NAMED, "eventIdempotencyKey": "each", "customerReferenceId": "*"}),
]


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_nothing_is_called_so(stack: Stack, admin: Asker, path: str, body: dict[str, Any]) -> None:
    stack.customers.add_customer("acme")
    told = admin.post(path, body, status=400)
    assert "not * alone" in str(told), told


def test_a_reported_event_of_it_is_refused_by_itself(admin: Asker) -> None:
    events = [{**NAMED, "customerReferenceId": name} for name in ("*", "fine")]
    told = admin.post("/api/events/ingest", {"events": events})
    assert (told["accepted"], told["rejected"], told["errors"][0]["index"]) == (1, 1, 0)
    named = [each["customer_id"] for each in admin.get("/api/customers")["data"]]
    assert "*" not in named


def test_whom_the_book_would_record(stack: Stack) -> None:
    """The command line's way, too."""
    with pytest.raises(ValueError, match="not \\* alone"):
        stack.customers.add_customer("*")
    with pytest.raises(ValueError, match="not \\* alone"):
        stack.keyring.create("bound", customer="*", scopes=("proxy.chat",))


def test_in_a_limit_it_is_each(admin: Asker) -> None:
    body = {"scope": "customer", "customer_id": "*", "window": "month", "value": 25}
    assert admin.post("/api/limits", body, status=201)["customer_id"] == "*"
