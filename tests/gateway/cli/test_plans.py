"""Features, plans and customers on the command line, over a real database and a real ledger."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest

from budgets.names import names_of
from budgets.rowset import place_of
from tests.budgets.server import Server
from tests.gateway.cli.conftest import Run, fault_of

ACCOUNT = "default"
PRO = ("plans", "set", "pro", "--name", "Pro", "--feature", "notes")
LIMITS = ("--limit", "search/requests/month=10", "--limit", "*/money/month=25.00:soft")


def document(run: Run, *words: Any) -> Any:
    result = run(*words, "--json")
    assert result.exit_code == 0, result.stderr
    return orjson.loads(result.stdout)


def test_a_plan_is_made_shown_and_made_anew_where_it_differs(run: Run, serving: Server) -> None:
    made = run(*PRO, *LIMITS)
    assert made.exit_code == 0, made.stderr
    assert "pro@1: search: 10 requests a month, hard; all features: $25.00 a month, soft" in made.stdout
    assert "is so already" in run(*PRO, *LIMITS).stdout
    second = document(run, *PRO, "--limit", "search/tokens/day=1_000:carry=500", "--anchor", "subscription")
    assert (second["version"], second["new"], second["anchor"]) == (2, True, "subscription")
    (limit,) = second["limits"]
    assert (limit["mode"], limit["carry_max"], limit["value"]) == ("accumulate", 500, 1000)
    first = document(run, "plans", "show", "pro@1")
    assert (first["features"], first["other_features"]) == (["notes", "search"], "deny")
    assert first["limits"][1]["value_usd"] == "25.00"
    shown = run("plans", "show", "pro").stdout
    assert "months begin on each customer's own day" in shown
    assert "carries over up to 500" in shown
    assert [each["plan"] for each in document(run, "plans", "list")] == ["pro"]
    known = serving.client.hgetall(names_of(ACCOUNT).limits)
    assert known[b"pro@1/search/requests/month"] == b"10"
    assert known[b"pro@2/search/tokens/day"] == b"1000"


def test_what_cannot_be_a_plan_is_told(run: Run, serving: Server) -> None:
    def fault(*words: str) -> str:
        return fault_of(run("plans", "set", *words))

    assert "letters, digits" in fault("p@1")
    assert "search/requests/month=1000" in fault("p", "--limit", "search=10")
    assert "kind 'apples' is unknown" in fault("p", "--limit", "search/apples/month=10")
    assert "window" in fault("p", "--limit", "search/requests/minute=10")
    assert "whole number" in fault("p", "--limit", "search/requests/month=1.5")
    assert "limited twice" in fault("p", *("--limit", "a/requests/month=1") * 2)
    assert "accumulate" in fault("p", "--limit", "a/requests/lifetime=1:carry=2")
    assert "'lenient' is unknown" in fault("p", "--limit", "a/requests/month=1:lenient")
    assert "anchor '32'" in fault("p", "--anchor", "32")
    assert "time zone" in fault("p", "--time-zone", "Moon/Crater", "--limit", "a/requests/day=1")
    assert fault("p", "--time-zone", "Moon/Crater") == (
        "plan p: time zone 'Moon/Crater' is unknown; write an IANA name such as Europe/Berlin"
    )
    assert document(run, "plans", "list") == []


def test_a_customer_comes_moves_has_things_otherwise_and_goes(run: Run, serving: Server) -> None:
    run(*PRO, *LIMITS)
    run("plans", "set", "trial", "--feature", "search")
    assert run("customers", "subscribe", "acme", "gold").stderr == "no plan is called 'gold'\n"
    on = document(run, "customers", "subscribe", "acme", "trial", "--until", "2099-01-01")
    assert (on["plan"], on["version"]) == ("trial", 1)
    document(run, "customers", "subscribe", "acme", "pro", "--from", "2099-01-01", "--day", "9")
    spans = document(run, "customers", "show", "acme")["subscriptions"]
    assert [(each["plan"], each["anchor"]) for each in spans] == [("trial", on["anchor"]), ("pro", 9)]
    run("customers", "subscribe", "acme", "pro@1")
    assert document(run, "customers", "show", "acme")["plan"] == "pro"
    assert (
        "no limit 'notes/requests/day'"
        in run("customers", "override", "acme", "--limit", "notes/requests/day=1").stderr
    )
    changed = run(
        *("customers", "override", "acme", "--limit", "search/requests/month=50:soft"),
        *("--grant", "beta", "--refuse", "notes"),
    )
    assert "3 things otherwise" in changed.stdout
    use(serving, run, spent=4)
    shown = document(run, "customers", "show", "acme")
    assert shown["limits"][0] == {
        "limit": "search/requests/month",
        "enforcement": "soft",
        "value": 50,
        "used": 4,
        "remaining": 46,
    }
    text = run("customers", "show", "acme").stdout
    assert "now: pro@1" in text
    assert "otherwise: beta granted" in text
    assert "search/requests/month\t50\t4\t46\tsoft" in text
    assert [each["customer"] for each in document(run, "customers", "list", "--plan", "pro")] == ["acme"]
    assert document(run, "customers", "list", "--plan", "trial") == []
    run("customers", "unsubscribe", "acme")
    assert document(run, "customers", "show", "acme")["plan"] is None
    assert "is on no plan now" in run("customers", "unsubscribe", "acme").stderr


def use(serving: Server, run: Run, spent: int) -> None:
    """Let the ledger have counted so many of acme's searches."""
    from accounts.plan import PlanRule, PlanVersion

    rule = PlanRule("requests", "month", 10, "search")
    (limit,) = PlanVersion("pro", 1, rules=(rule,)).terms().limits
    now_ms = int(serving.client.time()[0]) * 1_000
    place = place_of(limit, "acme\x1fsearch", ACCOUNT, now_ms)
    serving.client.hset(place.hash, place.field, struct.pack("<3q", spent, 0, 0))


def test_versions_move_on_and_plans_are_archived(run: Run, serving: Server) -> None:
    run(*PRO, *LIMITS)
    for name in ("a", "b"):
        run("customers", "subscribe", name, "pro")
    made = run(*PRO, "--limit", "search/requests/month=20")
    assert "stay on the version they are on" in made.stderr
    assert document(run, "plans", "show", "pro@1")["customers"] == 2
    assert document(run, "plans", "migrate", "pro")["customers"] == ["a", "b"]
    assert document(run, "plans", "list")[0]["customers"] == 2
    assert document(run, "plans", "show", "pro")["customers"] == 2
    run("plans", "archive", "pro")
    assert "archived" in run("customers", "subscribe", "c", "pro").stderr
    run("plans", "archive", "pro", "--undo")
    assert run("customers", "subscribe", "c", "pro").exit_code == 0


def test_customers_are_listed_page_by_page(run: Run, serving: Server) -> None:
    for name in ("a", "b", "c"):
        run("customers", "add", name, "--name", name.upper())
    first = run("customers", "list", "--limit", "2")
    assert [line.split("\t")[0] for line in first.stdout.splitlines()[1:]] == ["a", "b"]
    assert "--after b" in first.stderr
    assert [each["name"] for each in document(run, "customers", "list", "--after", "b")] == ["C"]


def test_the_policy_and_the_switch_of_a_feature(run: Run, serving: Server) -> None:
    assert "without a plan: allow" in run("customers", "policy").stdout
    assert "no plan is called 'free'" in run("customers", "policy", "--default-plan", "free").stderr
    run("plans", "set", "free", "--feature", "search")
    assert "default_plan free@1" in run("customers", "policy", "--default-plan", "free").stdout
    shown = document(run, "customers", "policy", "--unknown", "deny", "--unnamed", "deny")
    assert shown == {"unknown": "deny", "unnamed": "deny", "default_plan": None, "disabled_features": []}
    assert "off for everybody" in run("features", "set", "search", "--name", "Search", "--disable").stdout
    assert document(run, "customers", "policy")["disabled_features"] == ["search"]
    assert document(run, "features", "list") == [
        {"feature": "search", "name": "Search", "enabled": False, "price": None}
    ]
    account = orjson.loads(serving.client.get(names_of(ACCOUNT).account + ACCOUNT))
    assert account["policy"]["disabled"] == ["search"]
    assert document(run, "features", "set", "search", "--enable")["enabled"] is True


def test_without_a_server_a_change_is_recorded_for_the_next_start(run: Run) -> None:
    made = run(*PRO)
    assert made.exit_code == 0
    assert "takes effect at the next start" in made.stderr
    assert run("customers", "subscribe", "acme", "pro").exit_code == 0
    assert document(run, "customers", "show", "acme")["limits"] == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("plans", "show", "pro@two"), "'two' is no version; write a number, such as 2"),
        (("plans", "show", "pro@2"), "the plan 'pro' has no version 2"),
        (("plans", "migrate", "pro", "--to", "-1"), "'-1' is no version"),
        (("customers", "subscribe", "acme", "pro@two"), "'two' is no version"),
        (("customers", "subscribe", "a b", "pro"), "'a b': the customer must be 1 to 128 visible ASCII"),
        (("customers", "add", ""), "the customer must be 1 to 128 visible ASCII characters"),
    ],
)
def test_versions_and_customers_are_read_in_one_way(run: Run, words: tuple[str, ...], complaint: str) -> None:
    assert run("plans", "set", "pro").exit_code == 0
    assert complaint in fault_of(run(*words))
