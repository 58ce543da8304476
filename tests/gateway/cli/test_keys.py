"""`tollkeeper keys` as people and scripts use it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from accounts.key import KeyRecord, digest, document_name, looks_valid
from budgets.names import names_of
from gateway.serve.lock import DirectoryLock
from tests.budgets.server import Server
from tests.gateway.cli.conftest import Run, announced, fault_of

NAMES = names_of("default")


def test_a_new_key_goes_to_standard_output_alone_and_into_force(run: Run, serving: Server) -> None:
    made = run("keys", "create", "--name", "app", "--limit", "month=25usd", "--limit", "day=$1.5:soft")
    assert made.exit_code == 0
    secret = made.stdout.strip()
    assert looks_valid(secret)
    assert "shown only this once" in made.stderr
    record = KeyRecord.from_document(serving.client.get(document_name(digest(secret))))
    assert {(limit.window, limit.value, limit.enforcement) for limit in record.limits} == {
        ("month", 25 * 10**9, "hard"),
        ("day", 1_500_000_000, "soft"),
    }
    assert serving.client.hget(NAMES.key + record.id, "st") == b"active"


def test_every_option_of_a_key_is_recorded(run: Run) -> None:
    made = run(
        *("keys", "create", "--name", "app", "--customers", "acme, bolt ,", "--features", "chat"),
        *("--default-customer", "acme", "--default-feature", "chat", "--expires", "2027-01-01T12:00"),
        *("--scopes", "proxy.chat,usage.read", "--json"),
    )
    document = orjson.loads(made.stdout)
    assert looks_valid(document.pop("secret"))
    assert document["customers"] == ["acme", "bolt"]
    assert document["features"] == ["chat"]
    assert (document["default_customer"], document["default_feature"]) == ("acme", "chat")
    assert document["expires_ms"] == 1_798_804_800_000
    assert document["scopes"] == ["proxy.chat", "usage.read"]
    assert document["assertion"] == "listed"
    bound = orjson.loads(
        run("keys", "create", "--name", "b", "--customer", "acme", "--feature", "f", "--json").stdout
    )
    assert (bound["customer"], bound["feature"], bound["assertion"]) == ("acme", "f", "none")
    free = orjson.loads(run("keys", "create", "--name", "c", "--assert", "any", "--json").stdout)
    assert free["assertion"] == "any"


def test_what_a_key_does_while_the_ledger_is_away_is_recorded(run: Run, serving: Server) -> None:
    made = run(
        *("keys", "create", "--name", "app", "--limit", "day=1"),
        *("--on-ledger-down", "allowance", "--allowance", "$2.50", "--json"),
    )
    document = orjson.loads(made.stdout)
    assert (document["on_ledger_down"], document["ledger_down_chosen"]) == ("allowance", True)
    assert (document["allowance_usd"], document["allowance_nano"]) == ("2.50", "2500000000")
    published = KeyRecord.from_document(serving.client.get(document_name(digest(document["secret"]))))
    assert (published.on_ledger_down, published.allowance_nano) == ("allowance", 2_500_000_000)
    plain = orjson.loads(run("keys", "create", "--name", "b", "--json").stdout)
    assert (plain["on_ledger_down"], plain["ledger_down_chosen"]) == ("open", False)


def test_keys_are_listed_without_their_secrets(run: Run) -> None:
    secret = run(
        "keys", "create", "--name", "app", "--customer", "acme", "--limit", "month=25"
    ).stdout.strip()
    listed = run("keys", "list")
    heading, line = listed.stdout.splitlines()
    assert heading.split("\t")[:4] == ["id", "name", "secret", "status"]
    assert line.split("\t")[1:4] == ["app", f"obs_...{secret[-4:]}", "active"]
    assert "customer acme" in line
    assert "month $25.00" in line
    assert secret not in listed.stdout
    (document,) = orjson.loads(run("keys", "list", "--json").stdout)
    assert document["limits"][0]["value_usd"] == "25.00"
    assert document["limits"][0]["value_nano"] == "25000000000"


def test_a_revoked_key_is_refused_from_the_next_request_on(run: Run, serving: Server) -> None:
    run("keys", "create", "--name", "app")
    (document,) = orjson.loads(run("keys", "list", "--json").stdout)
    revoked = run("keys", "revoke", document["id"][:10])
    assert (revoked.exit_code, revoked.stderr) == (0, "")
    assert "is revoked" in revoked.stdout
    assert serving.client.hget(NAMES.key + document["id"], "st") == b"revoked"


def test_without_a_running_server_a_change_is_said_to_wait_for_the_next_start(run: Run) -> None:
    assert "takes effect at the next start" in run("keys", "create", "--name", "app").stderr
    revoked = run("keys", "revoke", "app")
    assert revoked.exit_code == 0
    assert "takes effect at the next start" in revoked.stderr


def test_a_revocation_that_a_running_server_cannot_be_told_of_is_a_failure(run: Run, data_dir: Path) -> None:
    run("keys", "create", "--name", "app")
    lock = DirectoryLock.take(data_dir)
    lock.announce(announced(f"unix://{data_dir}/gone.sock"))
    try:
        revoked = run("keys", "revoke", "app")
        assert revoked.exit_code == 3
        assert "could not be reached" in revoked.stderr
    finally:
        lock.release()
    (document,) = orjson.loads(run("keys", "list", "--json").stdout)
    assert document["status"] == "revoked"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("keys", "create", "--name", "x", "--limit", "minute=1"), "windows are day, week, month, lifetime"),
        (("keys", "create", "--name", "x", "--limit", "month"), "write WINDOW=USD"),
        (("keys", "create", "--name", "x", "--limit", "month=ten"), "expected dollars"),
        (("keys", "create", "--name", "x", "--limit", "month=0.0000000001"), "finer than a nano-dollar"),
        (("keys", "create", "--name", "x", "--limit", "month=9999999"), "from 0 to 9007199254740991"),
        (("keys", "create", "--name", "x", "--limit", "month=1:firm"), "hard, soft, shadow"),
        (("keys", "create", "--name", "x", "--on-ledger-down", "allowance"), "needs an amount"),
        (("keys", "create", "--name", "x", "--allowance", "5"), "not with the default"),
        (
            *(("keys", "create", "--name", "x", "--on-ledger-down", "open", "--allowance", "5"),),
            "goes with the choice allowance, not with open",
        ),
        (
            *(("keys", "create", "--name", "x", "--on-ledger-down", "allowance", "--allowance", "0"),),
            "must be more than nothing",
        ),
        (("keys", "create", "--name", "x", "--expires", "soon"), "'soon' is no date"),
        (
            ("keys", "create", "--name", "x", "--assert", "any", "--customers", "a"),
            "need the assertion listed",
        ),
        (("keys", "revoke", "nobody"), "no key has the id or name 'nobody'"),
    ],
)
def test_faults_are_told_in_one_sentence(run: Run, arguments: tuple[str, ...], complaint: str) -> None:
    run("keys", "create", "--name", "app")
    assert complaint in fault_of(run(*arguments))
    assert len(orjson.loads(run("keys", "list", "--json").stdout)) == 1


def test_a_missing_installation_is_told(run: Run, data_dir: Path) -> None:
    assert "no such database" in fault_of(run("keys", "list"))
    assert not data_dir.exists()
