"""Keys over HTTP: made, shown once, never above their maker, rotated, revoked at once."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2
import pytest

from accounts.key import looks_valid
from accounts.terms import NewLimit
from tests.gateway.api.asking import Asker, all_pages, chat
from tests.stack import Stack

DOLLAR = 10**9


@pytest.fixture
def admin(stack: Stack, http: httpx2.Client) -> Asker:
    return Asker(http, stack.key(scopes=("admin",)))


@pytest.fixture
def manager(stack: Stack, http: httpx2.Client) -> Asker:
    """A key that may make keys which may call providers."""
    return Asker(http, stack.key(scopes=("keys.write", "proxy.chat", "models.read")))


def test_a_key_is_made_works_and_is_shown_once(stack: Stack, http: httpx2.Client, manager: Asker) -> None:
    made = manager.post(
        "/api/sdk-keys",
        {"name": "checkout", "assertion": "any", "budget_cents": 250, "budget_period": "month"},
        status=201,
    )
    secret = made["key"]
    assert looks_valid(secret)
    assert made["prefix"] == made["key_prefix"] == f"obs_...{secret[-4:]}"
    assert made["scopes"] == ["proxy.chat", "models.read"]
    assert (made["budget_cents"], made["budget_period"]) == (250, "month")
    assert (made["limits"][0]["value"], made["limits"][0]["value_nano"]) == (Decimal("2.50"), "2500000000")
    assert chat(stack, secret).status_code == 200
    # Nowhere else is the secret, nor what it is known by in the record.
    for told in (
        http.get("/api/sdk-keys", headers=manager._headers).text,
        http.get(f"/api/sdk-keys/{made['id']}", headers=manager._headers).text,
        http.get("/api/sdk-keys/me", headers={"authorization": f"Bearer {secret}"}).text,
    ):
        assert secret not in told
        assert secret[4:20] not in told
        assert "digest" not in told
    shown = manager.get(f"/api/sdk-keys/{made['id']}")
    assert shown["full_key"] is None
    assert shown["parent_id"] == manager.get("/api/sdk-keys/me")["id"]


def test_a_taken_name_gets_a_number(manager: Asker) -> None:
    names = [manager.post("/api/sdk-keys", {"name": "the same"}, status=201)["name"] for _ in range(3)]
    assert names == ["the same", "the same-2", "the same-3"]


def test_me_tells_every_key_of_its_budget_in_whole_cents_down(stack: Stack, http: httpx2.Client) -> None:
    for scopes in (("proxy.chat",), ("events.read",), ("admin",)):
        told = Asker(http, stack.key(scopes=scopes)).get("/api/sdk-keys/me")
        assert (told["auth_type"], told["scopes"]) == ("sdk_key", list(scopes))
        assert [told[f"budget{part}_cents"] for part in ("", "_used", "_remaining")] == [None, None, None]
    expires = 4_000_000_000_000
    secret = stack.key(
        limits={"day": DOLLAR, "month": 10_009_999_999}, scopes=("proxy.chat",), expires_ms=expires
    )
    me = Asker(http, secret)
    told = me.get("/api/sdk-keys/me")
    assert (told["budget_cents"], told["budget_used_cents"], told["budget_remaining_cents"]) == (100, 0, 100)
    assert (told["budget_period"], told["expires_at"]) == ("day", "2096-10-02T07:06:40.000Z")
    answer = chat(stack, secret)
    event = stack.event(answer.headers["x-request-id"])
    assert 0 < event.known_nano < 10_000_000
    told = me.get("/api/sdk-keys/me")
    # Less than a cent is used: nothing is used in whole cents, and a cent less remains.
    assert (told["budget_used_cents"], told["budget_remaining_cents"]) == (0, 99)
    assert told["budget_used_nano"] == str(event.known_nano)
    assert told["budget_remaining_nano"] == str(DOLLAR - event.known_nano)
    bound = Asker(http, stack.key(scopes=("proxy.chat",), customer="acme")).get("/api/sdk-keys/me")
    assert bound["customer_id"] == "acme"


def test_a_budget_of_a_whole_life_has_no_period(stack: Stack, http: httpx2.Client) -> None:
    secret = stack.key(limits={"lifetime": 5_019_999_999}, scopes=("proxy.chat",))
    told = Asker(http, secret).get("/api/sdk-keys/me")
    assert (told["budget_cents"], told["budget_period"], told["budget_resets_at"]) == (501, None, None)


@pytest.mark.parametrize(
    "wish",
    [
        {"scopes": ["admin"]},
        {"scopes": ["usage.read"]},
        {"assertion": "any", "scopes": ["proxy.chat", "billing.write"]},
        {"on_ledger_down": "open"},
        {"expires_at": "2099-01-01"},
        {"customer_id": "another"},
        {"routes": ["gpt-5*"]},
        {"models": ["*"]},
        {"sources": ["metadata"]},
        {"customers": ["third"]},
        {"assertion": "any"},
    ],
)
def test_a_key_cannot_make_one_above_itself(stack: Stack, http: httpx2.Client, wish: dict[str, Any]) -> None:
    secret, record = stack.keyring.create(
        "narrow",
        scopes=("keys.write", "proxy.chat"),
        customers=("first", "second"),
        expires_ms=4_000_000_000_000,
        routes=("gpt-4o-mini",),
        models=("gpt-4o-mini",),
        required=("Observe-Task-Id",),
        limits=[NewLimit("month", DOLLAR)],
    )
    narrow = Asker(http, secret)
    before = len(stack.keyring.list())
    refused = narrow.post("/api/sdk-keys", {"name": "wide", **wish}, status=400)
    assert "above its parent" in refused["error"]
    narrow.post("/api/sdk-keys", {"name": "wide", "independent": True, **wish}, status=403)
    assert len(stack.keyring.list()) == before
    child = narrow.post("/api/sdk-keys", {"name": "child", "customers": ["second"]}, status=201)
    assert child["parent_id"] == record.id
    assert child["inherited_limits"][0]["value_nano"] == str(DOLLAR)
    assert child["required_headers"] == ["Observe-Task-Id"]


def test_what_a_child_spends_counts_for_its_maker(stack: Stack, http: httpx2.Client) -> None:
    secret = stack.key(scopes=("keys.write", "proxy.chat"), limits={"month": DOLLAR})
    child = Asker(http, secret).post("/api/sdk-keys", {"name": "spender", "assertion": "any"}, status=201)
    event = stack.event(chat(stack, child["key"]).headers["x-request-id"])
    told = Asker(http, secret).get("/api/sdk-keys/me")
    assert told["budget_used_nano"] == str(event.known_nano)


def test_only_an_admin_key_that_nothing_limits_makes_independent_ones(
    stack: Stack, http: httpx2.Client, admin: Asker
) -> None:
    made = admin.post("/api/sdk-keys", {"name": "app", "independent": True, "assertion": "any"}, status=201)
    assert made["parent_id"] is None
    limited = Asker(http, stack.key(scopes=("admin",), limits={"month": DOLLAR}))
    wish = {"name": "app", "independent": True}
    refused = limited.post("/api/sdk-keys", wish, status=403)
    assert refused["code"] == "above_its_maker"
    child = limited.post("/api/sdk-keys", {"name": "low", "scopes": ["admin"]}, status=201)
    Asker(http, child["key"]).post("/api/sdk-keys", wish, status=403)


def test_keys_of_others_are_not_found(stack: Stack, http: httpx2.Client, manager: Asker) -> None:
    own = manager.get("/api/sdk-keys/me")["id"]
    child = manager.post("/api/sdk-keys", {"name": "mine"}, status=201)
    stranger = stack.key(scopes=("keys.write",))
    other_account, foreign = stack.keyring.create("foreign", account_id="other", scopes=("admin",))
    for key_id in (stack.records[stranger], foreign.id, "key_nothing", own[:8], "mine"):
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/reset")):
            refused = manager.ask(method, f"/api/sdk-keys/{key_id}{path}", status=404)
            assert refused["error"] == "No such key."
    listed = [each["id"] for each in all_pages(manager, "/api/sdk-keys", "keys", limit=1)]
    assert listed == [own, child["id"]]
    assert stack.keyring.find(stack.records[stranger]).status == "active"
    # Of an account the whole of it is seen, and nothing else.
    elsewhere = Asker(http, other_account)
    assert [each["id"] for each in elsewhere.get("/api/sdk-keys")["keys"]] == [foreign.id]


def test_a_list_goes_on_where_it_ended_and_knows_its_cursors(
    stack: Stack, admin: Asker, manager: Asker
) -> None:
    listed = all_pages(admin, "/api/sdk-keys", "keys", limit=3, status="active")
    ids = [each["id"] for each in listed]
    assert sorted(ids) == sorted(each.id for each in stack.keyring.list() if each.status == "active")
    assert len(set(ids)) == len(ids)
    cursor = admin.get("/api/sdk-keys", limit=1)["next_cursor"]
    for params in ({"status": "active", "cursor": cursor}, {"cursor": cursor[:-1]}, {"cursor": "x"}):
        refused = admin.ask("GET", "/api/sdk-keys", params=params, status=400)
        assert refused["code"] == "invalid_cursor"
    manager.ask("GET", "/api/sdk-keys", params={"cursor": cursor}, status=400)


def test_a_rotated_key_has_two_secrets_for_a_while(stack: Stack, http: httpx2.Client, manager: Asker) -> None:
    made = manager.post("/api/sdk-keys", {"name": "turned", "assertion": "any"}, status=201)
    turned = manager.post(f"/api/sdk-keys/{made['id']}/reset")
    assert turned["id"] == made["id"]
    assert turned["key"] != made["key"]
    assert [each["key_prefix"] for each in turned["former_secrets"]] == [made["key_prefix"]]
    assert chat(stack, made["key"]).status_code == chat(stack, turned["key"]).status_code == 200
    at_once = manager.ask("POST", f"/api/sdk-keys/{made['id']}/reset?overlap_seconds=0")
    assert at_once["former_secrets"] == []
    for secret in (made["key"], turned["key"]):
        assert chat(stack, secret).status_code == 401
        Asker(http, secret).get("/api/sdk-keys/me", status=401)
    assert chat(stack, at_once["key"]).status_code == 200


def test_a_revoked_key_and_its_children_are_refused_at_once(
    stack: Stack, http: httpx2.Client, manager: Asker
) -> None:
    made = manager.post(
        "/api/sdk-keys",
        {"name": "ended", "assertion": "any", "scopes": ["proxy.chat", "keys.write"]},
        status=201,
    )
    child = Asker(http, made["key"]).post("/api/sdk-keys", {"name": "below", "assertion": "any"}, status=201)
    assert chat(stack, child["key"]).status_code == 200
    assert manager.delete(f"/api/sdk-keys/{made['id']}") == {"success": True, "id": made["id"]}
    for secret in (made["key"], child["key"]):
        assert chat(stack, secret).status_code == 401
        Asker(http, secret).get("/api/sdk-keys/me", status=401)
    assert manager.delete(f"/api/sdk-keys/{made['id']}")["success"]
    told = manager.get(f"/api/sdk-keys/{child['id']}")
    assert told["status"] == "revoked"
    assert told["revoked_at"] is not None
    manager.post(f"/api/sdk-keys/{made['id']}/reset", status=400)


def test_the_only_key_that_can_manage_keys_stays(stack: Stack, http: httpx2.Client) -> None:
    secret, record = stack.keyring.create("alone", account_id="lonely", scopes=("admin",))
    alone = Asker(http, secret)
    child = alone.post("/api/sdk-keys", {"name": "child", "scopes": ["keys.write"]}, status=201)
    app = alone.post(
        "/api/sdk-keys", {"name": "app", "independent": True, "scopes": ["proxy.chat"]}, status=201
    )
    refused = alone.delete(f"/api/sdk-keys/{record.id}", status=400)
    assert refused["code"] == "only_manager_key"  # its child would end with it
    assert alone.delete(f"/api/sdk-keys/{child['id']}")["success"]
    assert alone.delete(f"/api/sdk-keys/{app['id']}")["success"]
    second = alone.post(
        "/api/sdk-keys",
        {"name": "second", "independent": True, "scopes": ["keys.write"]},
        status=201,
    )
    assert Asker(http, second["key"]).delete(f"/api/sdk-keys/{second['id']}")["success"]
    alone.delete(f"/api/sdk-keys/{record.id}", status=400)


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"budget_period": "day"}, "budget_period"),
        ({"expires_at": "2000-01-01"}, "past"),
        ({"expires_at": "2099-01-01", "expires_in_seconds": 5}, "not both"),
        ({"scopes": ["root"]}, "unknown scopes: root"),
        ({"scopes": []}, "scopes"),
        ({"budget_cents": 1.5}, "budget_cents"),
        ({"limits": [{"window": "day", "value": 1.5, "kind": "requests"}]}, "whole number"),
        ({"limits": [{"window": "day", "value": 1e-12}]}, "finer than"),
        ({"limits": [{"window": "day"}]}, "value"),
        ({"limits": [{"window": "minute", "value": 1}]}, "minute"),
        ({"allowance": 1}, "allowance"),
        ({"routes": ["a*b"]}, "routes"),
        ({"secret": "obs_mine"}, "secret"),
        ({"name": ""}, "name"),
    ],
)
def test_what_cannot_be_is_said(admin: Asker, wish: dict[str, Any], named: str) -> None:
    refused = admin.post("/api/sdk-keys", {"name": "wrong", **wish}, status=400)
    assert named.lower() in refused["error"].lower()
