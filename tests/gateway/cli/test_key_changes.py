"""`tollkeeper keys show|update|rotate` and child keys, as people and scripts use them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from accounts.key import KeyRecord, digest, document_name, looks_valid
from budgets.names import names_of
from tests.budgets.server import Server
from tests.gateway.cli.conftest import Run, fault_of

NAMES = names_of("default")


def made(run: Run, *words: str) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(run("keys", "create", *words, "--json").stdout)
    return document


def published(serving: Server, secret: str) -> KeyRecord | None:
    document = serving.client.get(document_name(digest(secret)))
    return None if document is None else KeyRecord.from_document(document)


def test_every_option_of_a_key_is_shown(run: Run) -> None:
    key = made(
        run,
        *(
            "--name",
            "app",
            "--routes",
            "fast, gpt-4*",
            "--models",
            "openai/*",
            "--sources",
            "metadata,baggage",
        ),
        *("--require", "Observe-Task-Id,observe-property-team", "--limit", "month=25"),
    )
    shown = orjson.loads(run("keys", "show", "app", "--json").stdout)
    assert {name: key[name] for name in shown} == shown
    assert shown["routes"] == ["fast", "gpt-4*"]
    assert shown["models"] == ["openai/*"]
    assert shown["sources"] == ["metadata", "baggage"]
    assert shown["required"] == ["Observe-Task-Id", "observe-property-team"]
    assert "secret_ends_ms" not in shown
    lines = run("keys", "show", key["id"][:9]).stdout
    for words in (
        "routes:           fast, gpt-4*",
        "limits:           month $25.00",
        "ledger away:      closed",
    ):
        assert words in lines
    assert key["secret"] not in lines


def test_a_child_is_made_under_its_parent_and_never_above_it(run: Run) -> None:
    parent = made(run, "--name", "team", "--limit", "month=25", "--expires", "2030-01-01")
    child = made(run, "--name", "app", "--parent", "team", "--scopes", "proxy.chat", "--limit", "day=1")
    assert child["parent_id"] == parent["id"]
    assert child["expires_ms"] == parent["expires_ms"]
    assert [limit["value_usd"] for limit in child["limits"]] == ["1.00"]
    assert [limit["value_usd"] for limit in child["inherited_limits"]] == ["25.00"]
    assert f"limits above it:  month $25.00 ({parent['id']})" in run("keys", "show", "app").stdout
    above = run("keys", "create", "--name", "x", "--parent", "team", "--scopes", "events.write")
    assert "would be above its parent" in fault_of(above)
    run("keys", "revoke", "team")
    assert orjson.loads(run("keys", "show", "app", "--json").stdout)["status"] == "revoked"


def test_a_rotation_prints_the_new_secret_alone_and_keeps_the_old_one_for_a_while(
    run: Run, serving: Server
) -> None:
    old = run("keys", "create", "--name", "app").stdout.strip()
    rotated = run("keys", "rotate", "app", "--overlap", "24h")
    new = rotated.stdout.strip()
    assert looks_valid(new)
    assert new != old
    assert "works 24h more" in rotated.stderr
    first, second = published(serving, old), published(serving, new)
    assert first is not None
    assert second is not None
    assert first.id == second.id
    assert first.secret_ends_ms is not None
    assert f"earlier secret:   obs_...{old[-4:]} until " in run("keys", "show", "app").stdout
    ended = run("keys", "rotate", "app", "--overlap", "0")
    assert "has ended" in ended.stderr
    assert published(serving, old) is None
    assert published(serving, new) is None
    assert "earlier secret" not in run("keys", "show", "app").stdout


def test_a_change_says_what_it_changes_and_leaves_the_rest(run: Run, serving: Server) -> None:
    key = made(run, "--name", "app", "--customer", "acme", "--routes", "fast", "--expires", "2030-01-01")
    changed = run(
        *("keys", "update", "app", "--name", "web", "--customer", "", "--assert", "listed"),
        *("--customers", "acme,bolt", "--expires", "never", "--on-ledger-down", "closed", "--json"),
    )
    document = orjson.loads(changed.stdout)
    assert (document["name"], document["customer"], document["customers"]) == ("web", None, ["acme", "bolt"])
    assert (document["expires_ms"], document["routes"], document["on_ledger_down"]) == (
        None,
        ["fast"],
        "closed",
    )
    record = published(serving, key["secret"])
    assert record is not None
    assert record.customers == ("acme", "bolt")
    assert serving.client.hget(NAMES.key + key["id"], "ver") == b"2"
    again = orjson.loads(run("keys", "update", "web", "--on-ledger-down", "default", "--json").stdout)
    assert (again["on_ledger_down"], again["ledger_down_chosen"]) == ("open", False)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("keys", "update", "app", "--expires", "soon"), "'soon' is no date"),
        (("keys", "update", "app"), "nothing to change was told"),
        (
            ("keys", "update", "app", "--scopes", "everything"),
            "unknown scopes: everything; known: proxy.chat",
        ),
        (("keys", "update", "app", "--require", "X-Team"), "'X-Team' cannot be required"),
        (("keys", "update", "app", "--sources", "cookies"), "known: metadata, baggage"),
        (("keys", "update", "app", "--models", "g*t"), "the beginning of one with a * at its end"),
        (("keys", "rotate", "app", "--overlap", "a day"), "'a day' is no span of time"),
        (("keys", "rotate", "nobody"), "no key has the id or name 'nobody'"),
        (("keys", "create", "--name", "x", "--parent", "nobody"), "no key has the id or name 'nobody'"),
        (
            ("keys", "create", "--name", "x", "--scopes", "proxy.embeddings"),
            "unknown scopes: proxy.embeddings",
        ),
    ],
)
def test_faults_are_told_in_one_sentence(run: Run, arguments: tuple[str, ...], complaint: str) -> None:
    run("keys", "create", "--name", "app")
    assert complaint in fault_of(run(*arguments))
