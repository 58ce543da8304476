"""The signup: off by default, so many an hour for one address, and never more than the operator allows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from accounts.scope import SCOPES
from budgets.names import all_shards, names_on
from gateway.api.signup import SELF_GRANTABLE, address_of
from gateway.settings import SignupSettings
from simulator.process import Simulator
from tests.gateway.api.asking import Asker, chat
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack

PROXY = ["127.0.0.1/32"]
PATH = "/api/signup"


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    signup = SignupSettings(enabled=True, budget_cents_max=50, expires_days_max=2, trusted_proxies=PROXY)
    with running_stack(simulated_settings(simulator, signup=signup), api=True) as started:
        # Accounts that signups make lie on any shard, and `serve` makes them all whole when it starts.
        run_id = started.redis.info("server")["run_id"]
        for shard in all_shards():
            whole = {"complete_since": 1, "run_id": run_id}
            started.redis.hset(names_on(shard).meta, mapping=whole)
        yield started


def sign_up(http: httpx2.Client, address: str, **wish: Any) -> httpx2.Response:
    body = {"email": "ada@example.com", **wish}
    return http.post(PATH, json=body, headers={"x-forwarded-for": address})


def test_the_documented_request(stack: Stack, http: httpx2.Client) -> None:
    answer = sign_up(http, "198.51.100.1", budget_period=None, budget_cents=None, expires_in_seconds=None)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert told["scopes"] == ["usage.read", "billing.read"]
    assert (told["budget_cents"], told["budget_lifetime_cents"]) == (50, 50)
    me = Asker(http, told["key"]).get("/api/sdk-keys/me")
    assert (me["budget_cents"], me["budget_period"], me["scopes"]) == (50, None, told["scopes"])
    assert me["expires_at"] == told["expires_at"]


def test_an_account_of_its_own(stack: Stack, http: httpx2.Client) -> None:
    """The same address of mail is no proof of anything: nobody reads what another one did."""
    first = sign_up(http, "198.51.100.2", scopes=list(SELF_GRANTABLE)).json()
    second = sign_up(http, "198.51.100.3", scopes=list(SELF_GRANTABLE)).json()
    assert len({first["account_id"], second["account_id"], "default"}) == 3
    answer = chat(stack, first["key"])
    assert answer.status_code == 200, answer.text
    used = [Asker(http, each["key"]).get("/api/sdk-keys/me")["budget_used_nano"] for each in (first, second)]
    assert int(used[0]) > 0
    assert used[1] == "0"


@pytest.mark.parametrize("scope", sorted(set(SCOPES) - set(SELF_GRANTABLE)))
def test_only_harmless_scopes_are_to_be_had(http: httpx2.Client, scope: str) -> None:
    answer = sign_up(http, "198.51.100.4", scopes=["usage.read", scope])
    assert (answer.status_code, answer.json()["code"]) == (400, "scope_not_grantable")
    assert len(SELF_GRANTABLE) == 8


def test_budget_and_end_are_capped(http: httpx2.Client) -> None:
    day_s = 86_400
    wide = sign_up(
        http, "198.51.100.5", budget_cents=10_000, budget_period="day", expires_in_seconds=90 * day_s
    ).json()
    assert (wide["budget_cents"], wide["budget_period"], wide["budget_lifetime_cents"]) == (50, "day", 50)
    narrow = sign_up(http, "198.51.100.5", budget_cents=7, expires_in_seconds=60).json()
    assert (narrow["budget_cents"], narrow["budget_lifetime_cents"]) == (7, 7)
    assert narrow["expires_at"] < wide["expires_at"]


def test_three_an_hour_for_one_address(stack: Stack, http: httpx2.Client) -> None:
    before = len(stack.keyring.list())
    for _ in range(3):
        assert sign_up(http, "203.0.113.9").status_code == 201
    for address in ("203.0.113.9", "203.0.113.9, 127.0.0.1", "8.8.8.8, 203.0.113.9"):
        refused = sign_up(http, address)
        assert (refused.status_code, refused.json()["code"]) == (429, "signup_rate_limited")
        assert 3_500 < int(refused.headers["retry-after"]) <= 3_600
    # What was refused is not counted, and another address has its own turns.
    assert sign_up(http, "203.0.113.10").status_code == 201
    assert len(stack.keyring.list()) == before
    # What is not even a wish takes no turn.
    for _ in range(4):
        assert sign_up(http, "203.0.113.11", email="nobody").status_code == 400
        assert sign_up(http, "203.0.113.11", scopes=["admin"]).status_code == 400
    assert sign_up(http, "203.0.113.11").status_code == 201


@pytest.mark.parametrize("email", ["", "a", "a@b", "a b@c.de", "a@b.c\n", "@b.cd", 7])
def test_an_address_of_mail_is_one(http: httpx2.Client, email: Any) -> None:
    assert sign_up(http, "198.51.100.6", email=email).status_code == 400


def test_off_by_default(simulator: Simulator) -> None:
    assert SignupSettings().enabled is False
    with (
        running_stack(simulated_settings(simulator), api=True) as stack,
        httpx2.Client(base_url=stack.base_url.removesuffix("/v1"), timeout=60) as http,
    ):
        refused = sign_up(http, "198.51.100.7")
        assert (refused.status_code, refused.json()["code"]) == (404, "signup_disabled")
        assert stack.keyring.list() == []


@pytest.mark.parametrize(
    ("connected", "forwarded", "trusted", "found"),
    [
        ("9.9.9.9", "", [], "9.9.9.9"),
        ("9.9.9.9", "1.1.1.1", [], "9.9.9.9"),
        ("9.9.9.9", "1.1.1.1", ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.1", "1.1.1.1", ["10.0.0.0/8"], "1.1.1.1"),
        ("10.0.0.1", "6.6.6.6, 1.1.1.1, 10.0.0.2", ["10.0.0.0/8"], "1.1.1.1"),
        ("10.0.0.1", "", ["10.0.0.0/8"], "10.0.0.1"),
        ("10.0.0.1", "junk", ["10.0.0.0/8"], "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "", [], "2001:db8:1:2::/64"),
        ("::ffff:9.9.9.9", "", [], "9.9.9.9"),
        ("", "", [], "unknown"),
    ],
)
def test_whom_an_address_is_counted_for(
    connected: str, forwarded: str, trusted: list[str], found: str
) -> None:
    assert address_of(connected, forwarded, trusted) == found


def test_a_network_that_is_none_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="10"):
        SignupSettings(trusted_proxies=["10.0.0.0/99"])
