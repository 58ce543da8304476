"""`tollkeeper limits` as people and scripts use it."""

from __future__ import annotations

import struct
from typing import Any

import orjson
import pytest

from accounts.terms import AccountTerms, CustomerTerms
from budgets.limit import Limit
from budgets.names import names_of
from budgets.rowset import place_of
from tests.budgets.server import Server
from tests.gateway.cli.conftest import Run, fault_of

NAMES = names_of("default")


@pytest.fixture
def limit(run: Run, serving: Server) -> dict[str, Any]:
    """A month's limit of $25 on the key `app`."""
    run("keys", "create", "--name", "app")
    return set_limit(run, "app", "month", "25.00")


def set_limit(run: Run, *words: Any) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(run("limits", "set", *words, "--json").stdout)
    return document


def value_of(serving: Server, limit: dict[str, Any]) -> Any:
    return serving.client.hget(NAMES.limits, limit["id"])


def account_list(serving: Server) -> AccountTerms:
    return AccountTerms.from_document(serving.client.get(f"{NAMES.account}default"))


def count(serving: Server, limit: dict[str, Any], key: str, spent: int, *, reserved: int = 0) -> str:
    """Write the limit's present row as if so much had been counted; gives the window's id."""
    (terms,) = [each for each in stored(serving) if each.id == limit["id"]]
    place = place_of(terms, key, "default", int(serving.client.time()[0]) * 1000)
    serving.client.hset(place.hash, place.field, struct.pack("<3q", spent, reserved, 1))
    return place.window.id


def stored(serving: Server) -> list[Limit]:
    """Every limit in a published document."""
    documents = [serving.client.get(name) for name in serving.client.scan_iter(match="t2:key:*")]
    documents.append(serving.client.get(f"{NAMES.account}default"))
    documents += [
        serving.client.hget(name, "doc") for name in serving.client.scan_iter(match=f"{NAMES.customer}*")
    ]
    found = [limit for document in documents for limit in orjson.loads(document)["limits"]]
    return [Limit(**{**limit, "thresholds": tuple(limit["thresholds"])}) for limit in found]


def table(stdout: str) -> list[dict[str, str]]:
    heading, *lines = [line.split("\t") for line in stdout.splitlines()]
    return [dict(zip(heading, line, strict=True)) for line in lines]


def test_a_limit_is_set_and_changed_for_the_next_request(
    run: Run, serving: Server, limit: dict[str, Any]
) -> None:
    assert value_of(serving, limit) == b"25000000000"
    changed = run("limits", "set", "app", "month", "$10", "--enforcement", "soft")
    assert changed.stdout.endswith("(app): month limit $10.00, soft.\n")
    assert changed.stderr == ""
    assert value_of(serving, limit) == b"10000000000"
    (document,) = orjson.loads(run("keys", "list", "--json").stdout)
    assert document["limits"][0]["enforcement"] == "soft"
    assert document["version"] == 3


@pytest.mark.parametrize(
    ("words", "scope_and_id", "said"),
    [
        (("account", "month", "1000"), ("account", "default"), "The account: month limit $1000.00, hard."),
        (("customer:*", "day", "1"), ("customer", "*"), "customer:*: day limit $1.00, hard."),
        (
            *(("feature:summarize", "week", "5", "--enforcement", "shadow"),),
            *(("feature", "summarize"), "feature:summarize: week limit $5.00, shadow."),
        ),
        (("plan:pro", "lifetime", "5"), ("plan", "pro"), "plan:pro: lifetime limit $5.00, hard."),
        (("trace:*", "0.5"), ("trace", "*"), "trace:*: lifetime limit $0.50, hard."),
        (
            *(("route:gpt-4o", "day", "1_000", "--kind", "requests"),),
            *(("route", "gpt-4o"), "route:gpt-4o: day limit 1000 requests, hard."),
        ),
        (
            *(("key:*", "minute", "60", "--kind", "requests-per-minute"),),
            *(("key", "*"), "key:*: limit 60 requests a minute, hard."),
        ),
        (
            *(("customer:*", "100000", "--kind", "tokens-per-minute"),),
            *(("customer", "*"), "customer:*: limit 100000 tokens a minute, hard."),
        ),
        (
            *(("customer:*", "4", "--kind", "concurrency"),),
            *(("customer", "*"), "customer:*: limit 4 requests at once, hard."),
        ),
        (
            *(("workspace:*/eu", "day", "9", "--kind", "input-tokens", "--time-zone", "Asia/Tokyo"),),
            *(("workspace", "*\x1feu"), "workspace:*/eu: day limit 9 input tokens (Asia/Tokyo), hard."),
        ),
        (
            *(("customer:*/feature:chat", "week", "9", "--kind", "output-tokens", "--anchor", "7"),),
            ("customer_feature", "*\x1fchat"),
            "customer:*/feature:chat: week limit 9 output tokens (from weekday 7), hard.",
        ),
        (
            *(("account", "month", "9", "--anchor", "15", "--thresholds", "100,50%, 80"),),
            ("account", "default"),
            "The account: month limit $9.00 (from day 15), hard, notices at 50 %, 80 %, 100 %.",
        ),
    ],
)
def test_limits_of_every_kind_come_into_the_accounts_list(
    run: Run, serving: Server, words: tuple[str, ...], scope_and_id: tuple[str, str], said: str
) -> None:
    run("keys", "create", "--name", "app")
    result = run("limits", "set", *words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{said}\n", "")
    (limit,) = account_list(serving).limits
    assert (limit.scope, limit.scope_id) == scope_and_id
    assert serving.client.hget(NAMES.limits, limit.id) == str(limit.value).encode()


def test_limits_on_one_customer_come_into_its_own_list(run: Run, serving: Server) -> None:
    run("keys", "create", "--name", "app")
    for words in (
        ("customer:acme", "month", "25"),
        ("workspace:acme/eu", "month", "5"),
        ("customer:acme/feature:*", "4", "--kind", "concurrency"),
    ):
        assert run("limits", "set", *words).exit_code == 0
    terms = CustomerTerms.from_document(serving.client.hget(f"{NAMES.customer}default:acme", "doc"))
    assert [limit.scope_id for limit in terms.limits] == ["acme", "acme\x1feu", "acme\x1f*"]
    assert account_list(serving) == AccountTerms(1, (), has_customer_terms=True)


def test_another_zone_or_anchor_is_said_to_begin_anew(
    run: Run, serving: Server, limit: dict[str, Any]
) -> None:
    changed = run("limits", "set", "app", "month", "25", "--time-zone", "Europe/Berlin", "--anchor", "15")
    assert "month limit $25.00 (Europe/Berlin, from day 15), hard." in changed.stdout
    assert "a new limit that counts from now on" in changed.stderr
    kept = set_limit(run, "app", "month", "30")
    assert (kept["time_zone"], kept["anchor"], kept["restarted"]) == ("Europe/Berlin", 15, False)
    assert kept["id"] != limit["id"]
    assert serving.client.hgetall(NAMES.limits) == {kept["id"].encode(): b"30000000000"}


def test_limits_are_listed_with_what_is_spent_reserved_doubted_and_left(
    run: Run, serving: Server, limit: dict[str, Any]
) -> None:
    window_id = count(serving, limit, "", 1_500_000_000, reserved=250_000_000)
    run("limits", "set", "app", "day", "1")
    lines = [line.split("\t")[1:] for line in run("limits", "list").stdout.splitlines()]
    amounts = ("value", "spent", "reserved", "doubted", "remaining")
    assert lines[0] == ["name", "kind", "window", "enforcement", *amounts]
    assert lines[1] == [
        *("app", "money", f"month {window_id}", "hard"),
        *("25.00", "1.50", "0.25", "0.000000001", "23.249999999"),
    ]
    assert lines[2][4:] == ["1.00", "0.00", "0.00", "0.00", "1.00"]
    document = orjson.loads(run("limits", "list", "app", "--json").stdout)[0]
    assert (document["remaining_usd"], document["remaining_nano"]) == ("23.249999999", "23249999999")
    assert (document["window_id"], document["key_name"]) == (window_id, "app")
    assert document["key_id"] == document["subject"].removeprefix("key:")


def test_counts_rates_and_concurrency_are_shown_with_what_they_have(run: Run, serving: Server) -> None:
    run("keys", "create", "--name", "app")
    tokens = set_limit(run, "account", "day", "1000", "--kind", "tokens")
    rate = set_limit(run, "account", "60", "--kind", "requests-per-minute")
    held = set_limit(run, "account", "5", "--kind", "concurrency")
    count(serving, tokens, "", 300)
    serving.client.hset(NAMES.now, held["id"], struct.pack("<3q", 0, 2, 0))
    seconds, micros = serving.client.time()
    serving.client.hset(NAMES.rates, rate["id"], (seconds + 30) * 1_000_000 + micros)
    rows = {row["kind"]: row for row in table(run("limits", "list").stdout)}
    assert [rows["tokens"][name] for name in ("value", "spent", "remaining")] == ["1000", "300", "699"]
    assert rows["requests-per-minute"]["spent"] == rows["requests-per-minute"]["reserved"] == ""
    assert rows["requests-per-minute"]["remaining"] in ("30", "31")
    assert [rows["concurrency"][name] for name in ("spent", "reserved", "remaining")] == ["", "2", "3"]
    documents = {each["kind"]: each for each in orjson.loads(run("limits", "list", "--json").stdout)}
    assert (documents["tokens"]["spent"], documents["tokens"]["remaining"]) == (300, 699)
    assert documents["requests_per_minute"]["value"] == 60
    assert "spent" not in documents["requests_per_minute"]
    assert (documents["concurrency"]["reserved"], documents["concurrency"]["remaining"]) == (2, 3)


def test_of_a_limit_on_each_the_fullest_are_shown_and_all_when_asked(run: Run, serving: Server) -> None:
    run("keys", "create", "--name", "app")
    limit = set_limit(run, "customer:*", "month", "10")
    for number in range(12):
        count(serving, limit, f"c{number}", number * 10**9)
    listed = run("limits", "list")
    head, *rows = table(listed.stdout)
    assert (head["on"], head["name"], head["value"], head["spent"]) == (
        "customer:*",
        "each, 12 in use",
        "10.00",
        "",
    )
    assert [row["on"] for row in rows] == [f"customer:c{number}" for number in range(11, 1, -1)]
    assert (rows[0]["name"], rows[0]["spent"]) == ("of customer:*", "11.00")
    assert rows[0]["remaining"] == "-1.000000001"
    assert "customer:*, month money: 10 of 12 are shown; --all shows every one." in listed.stderr
    every = run("limits", "list", "--all")
    assert (len(table(every.stdout)), every.stderr) == (13, "")
    (document,) = orjson.loads(run("limits", "list", "--json").stdout)
    assert (document["rows_total"], len(document["rows"])) == (12, 10)
    assert document["rows"][0]["subject"] == "customer:c11"
    assert document["rows"][0]["spent_nano"] == "11000000000"


def test_a_subjects_list_has_all_that_counts_it_and_nothing_else(run: Run, serving: Server) -> None:
    run("keys", "create", "--name", "app")
    for subject in (
        "customer:acme",
        "customer:bolt",
        "workspace:acme/eu",
        "customer:acme/feature:chat",
        "account",
    ):
        run("limits", "set", subject, "day", "1")
    each = set_limit(run, "customer:*", "month", "10")
    count(serving, each, "acme", 3 * 10**9)
    count(serving, each, "bolt", 4 * 10**9)
    rows = table(run("limits", "list", "customer:acme").stdout)
    assert [(row["on"], row["name"], row["spent"]) for row in rows] == [
        ("customer:acme", "", "0.00"),
        ("customer:acme", "of customer:*", "3.00"),
        ("workspace:acme/eu", "", "0.00"),
        ("customer:acme/feature:chat", "", "0.00"),
    ]
    documents = orjson.loads(run("limits", "list", "customer:acme", "--json").stdout)
    assert documents[1]["rows"][0]["spent_usd"] == "3.00"
    assert [row["on"] for row in table(run("limits", "list", "customer:*").stdout)] == [
        *("customer:*", "customer:bolt", "customer:acme")
    ]
    assert run("limits", "list", "customer:nobody").stdout.count("\n") == 2


def test_a_cleared_limit_is_gone_everywhere(run: Run, serving: Server, limit: dict[str, Any]) -> None:
    cleared = run("limits", "clear", "app", "month")
    assert cleared.exit_code == 0
    assert cleared.stdout.endswith("(app) has no month limit any more.\n")
    assert value_of(serving, limit) is None
    assert orjson.loads(run("limits", "list", "--json").stdout) == []
    assert "has no month limit" in fault_of(run("limits", "clear", "app", "month"))


def test_limits_are_cleared_by_kind_and_without_a_window_where_there_is_but_one(
    run: Run, serving: Server
) -> None:
    run("keys", "create", "--name", "app")
    for kind in ("concurrency", "requests-per-minute"):
        run("limits", "set", "plan:pro", "5", "--kind", kind)
    run("limits", "set", "plan:pro", "day", "5", "--kind", "tokens")
    assert "plan:pro has no limit of concurrency any more." in (
        run("limits", "clear", "plan:pro", "--kind", "concurrency").stdout
    )
    cleared = run("limits", "clear", "plan:pro", "day", "--kind", "tokens", "--json")
    assert orjson.loads(cleared.stdout) == {
        "subject": "plan:pro",
        "kind": "tokens",
        "window": "day",
        "cleared": True,
    }
    assert [limit.kind for limit in account_list(serving).limits] == ["requests_per_minute"]


def test_without_a_server_limits_are_recorded_and_their_use_is_not_invented(run: Run) -> None:
    run("keys", "create", "--name", "app")
    assert "takes effect at the next start" in run("limits", "set", "app", "month", "25").stderr
    run("limits", "set", "customer:*", "month", "25")
    listed = run("limits", "list")
    assert "No server is reachable" in listed.stderr
    key, each = table(listed.stdout)
    amounts = ("value", "spent", "reserved", "doubted", "remaining")
    assert [key[name] for name in amounts] == ["25.00", "?", "?", "?", "?"]
    assert [each[name] for name in ("name", *amounts)] == ["each", "25.00", "?", "?", "?", "?"]
    documents = orjson.loads(run("limits", "list", "--json").stdout)
    assert [documents[0][name] for name in ("value_usd", "spent_usd", "window_id")] == ["25.00", None, None]
    assert (documents[1]["rows"], documents[1]["rows_total"]) == ([], None)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("set", "nobody", "day", "1"), "no key has the id or name 'nobody'"),
        (("set", "team:x", "day", "1"), "A limit can be on a key's id or name, account, customer:ID"),
        (("set", "customer:a b", "day", "1"), "visible ASCII characters without spaces"),
        (("set", "app", "fortnight", "1"), "cannot have the window 'fortnight'; write day, week, month or"),
        (("set", "app", "minute", "1"), "cannot have the window 'minute'"),
        (("set", "trace:*", "day", "1"), "its only one is lifetime, which need not be written"),
        (("set", "app", "day", "1", "--kind", "concurrency"), "its only one is now"),
        (("set", "app", "1"), "needs a window; write day, week, month or lifetime"),
        (("set", "app", "day"), "after 'day' write the limit's value"),
        (("set", "app", "day", "1", "2"), "after the subject write WINDOW VALUE"),
        (("set", "app", "day", "99999999"), "from 0 to"),
        (("set", "app", "day", "1.5", "--kind", "tokens"), "is a whole number"),
        (("set", "app", "day", "$5", "--kind", "tokens"), "is a whole number"),
        (("set", "app", "0", "--kind", "requests-per-minute"), "a rate must be from 1"),
        (("set", "app", "day", "1", "--anchor", "2"), "anchor 2: a day window has none"),
        (("set", "app", "month", "1", "--anchor", "32"), "a day of the month, 1 to 31"),
        (("set", "app", "week", "1", "--anchor", "8"), "a weekday, 1 (Monday) to 7"),
        (("set", "app", "day", "1", "--time-zone", "Mars/Base"), "time zone 'Mars/Base' is unknown"),
        (("set", "app", "lifetime", "1", "--time-zone", "Asia/Tokyo"), "a lifetime window needs none"),
        (("set", "app", "day", "1", "--thresholds", "half"), "write percents such as 50,80,100, or none"),
        (("set", "app", "day", "1", "--thresholds", "0"), "rising percents from 1 to 1000"),
        (("set", "app", "1", "--kind", "concurrency", "--thresholds", "50"), "has no thresholds"),
        (("list", "nobody"), "no key has the id or name"),
        (("clear", "app"), "needs a window"),
    ],
)
def test_faults_are_told_in_one_sentence_and_nothing_is_recorded(
    run: Run, words: tuple[str, ...], complaint: str
) -> None:
    run("keys", "create", "--name", "app")
    assert complaint in fault_of(run("limits", *words))
    assert orjson.loads(run("limits", "list", "--json").stdout) == []


def test_a_kind_that_is_none_and_a_negative_value_are_told_with_the_usage(run: Run) -> None:
    run("keys", "create", "--name", "app")
    for words in (("app", "day", "1", "--kind", "smiles"), ("app", "day", "-1")):
        assert run("limits", "set", *words).exit_code == 2
