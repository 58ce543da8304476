"""`tollkeeper limits` as people and scripts use it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from budgets.names import names_of
from budgets.window import window_at
from tests.budgets.server import Server
from tests.gateway.cli.conftest import Run

NAMES = names_of("default")


@pytest.fixture
def limit(run: Run, serving: Server) -> dict[str, Any]:
    """A month's limit of $25 on the key `app`."""
    run("keys", "create", "--name", "app")
    document: dict[str, Any] = orjson.loads(run("limits", "set", "app", "month", "25.00", "--json").stdout)
    return document


def row(serving: Server, limit: dict[str, Any]) -> Any:
    return serving.client.hgetall(NAMES.limit + limit["id"])


def test_a_limit_is_set_and_changed_for_the_next_request(
    run: Run, serving: Server, limit: dict[str, Any]
) -> None:
    assert row(serving, limit)[b"value"] == b"25000000000"
    changed = run("limits", "set", "app", "month", "$10", "--enforcement", "soft")
    assert changed.stdout.endswith("(app): month limit $10.00, soft.\n")
    assert (row(serving, limit)[b"value"], row(serving, limit)[b"enforcement"]) == (b"10000000000", b"soft")


def test_limits_are_listed_with_what_is_spent_reserved_doubted_and_left(
    run: Run, serving: Server, limit: dict[str, Any]
) -> None:
    window = window_at("month", int(serving.client.time()[0]) * 1000)
    counters = {"spent": 1_500_000_000, "reserved": 250_000_000, "doubted": 1}
    serving.client.hset(f"{NAMES.limit}{limit['id']}:{window.id}", mapping=counters)
    run("limits", "set", "app", "day", "1")
    lines = [line.split("\t")[1:] for line in run("limits", "list").stdout.splitlines()]
    assert lines[0] == ["name", "window", "enforcement", "value", "spent", "reserved", "doubted", "remaining"]
    assert lines[1] == [
        *("app", f"month {window.id}", "hard"),
        *("25.00", "1.50", "0.25", "0.000000001", "23.249999999"),
    ]
    assert lines[2][3:] == ["1.00", "0.00", "0.00", "0.00", "1.00"]
    document = orjson.loads(run("limits", "list", "app", "--json").stdout)[0]
    assert (document["remaining_usd"], document["remaining_nano"]) == ("23.249999999", "23249999999")
    assert document["window_id"] == window.id


def test_a_cleared_limit_is_gone_everywhere(run: Run, serving: Server, limit: dict[str, Any]) -> None:
    cleared = run("limits", "clear", "app", "month")
    assert cleared.exit_code == 0
    assert row(serving, limit) == {}
    assert orjson.loads(run("limits", "list", "--json").stdout) == []
    again = run("limits", "clear", "app", "month")
    assert again.exit_code == 1
    assert "has no month limit" in again.stderr


def test_without_a_server_limits_are_recorded_and_their_use_is_not_invented(run: Run) -> None:
    run("keys", "create", "--name", "app")
    assert "takes effect at the next start" in run("limits", "set", "app", "month", "25").stderr
    listed = run("limits", "list")
    assert "No server is reachable" in listed.stderr
    assert listed.stdout.splitlines()[1].split("\t")[4:] == ["25.00", "?", "?", "?", "?"]
    document = orjson.loads(run("limits", "list", "--json").stdout)[0]
    assert (document["value_usd"], document["spent_usd"], document["window_id"]) == ("25.00", None, None)


def test_faults_are_told(run: Run) -> None:
    run("keys", "create", "--name", "app")
    for arguments, complaint, code in (
        (("limits", "set", "nobody", "day", "1"), "no key has the id or name 'nobody'", 1),
        (("limits", "set", "app", "day", "-1"), "", 2),
        (("limits", "set", "app", "week", "1"), "week", 2),
        (("limits", "set", "app", "day", "99999999"), "from 0 to", 1),
        (("limits", "list", "nobody"), "no key has the id or name", 1),
    ):
        result = run(*arguments)
        assert result.exit_code == code
        assert complaint in result.stderr
