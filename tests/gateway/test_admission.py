from types import SimpleNamespace
from typing import Any

import pytest

from accounts.key import KeyRecord, mint
from gateway.admission import Caller, allowed_targets, credential, require_scope, require_target
from gateway.admission import attribute as attributed
from gateway.attribution import Headers, HeaderTable
from gateway.errors import BadKey, BadRequest, Forbidden
from gateway.settings.attribution import AttributionSettings
from routing.target import Target

TABLE = HeaderTable(AttributionSettings())
read_headers = TABLE.read


def attribute(
    key: KeyRecord, found: Headers, body: dict[str, Any] | None = None, table: HeaderTable = TABLE
) -> Caller:
    return attributed(key, found, table, body or {})


def record(**changes: object) -> KeyRecord:
    fields: dict[str, object] = {
        "id": "key_1",
        "account_id": "default",
        "name": "test",
        "version": 1,
        "status": "active",
        "expires_ms": None,
        "scopes": ("proxy.chat",),
        "customer": None,
        "feature": None,
        "assertion": "any",
        "customers": (),
        "features": (),
        "default_customer": None,
        "default_feature": None,
        "limits": (),
        "on_ledger_down": "closed",
        "display": "abcd",
    }
    return KeyRecord(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer %s"),
        (b"authorization", b"bearer  %s "),
        (b"x-api-key", b"%s"),
        (b"api-key", b"%s"),
        (b"x-goog-api-key", b"%s"),
        (b"observe-key", b"%s"),
    ],
)
def test_a_key_is_read_from_every_place_that_clients_use(header: tuple[bytes, bytes]) -> None:
    secret, _ = mint()
    assert credential(read_headers([(header[0], header[1] % secret.encode())])) == secret


def test_the_same_key_twice_is_one_credential_and_two_are_refused() -> None:
    one, two = mint()[0].encode(), mint()[0].encode()
    assert (
        credential(read_headers([(b"authorization", b"Bearer " + one), (b"x-api-key", one)])) == one.decode()
    )
    with pytest.raises(BadKey, match="Two different"):
        read_headers([(b"authorization", b"Bearer " + one), (b"x-api-key", two)])


@pytest.mark.parametrize(
    "value", [b"", b"sk-1234", b"' OR '1'='1", b"obs_" + b"a" * 49, b"obs_" + b"\xff" * 49]
)
def test_what_cannot_be_a_key_is_refused_before_any_look_up(value: bytes) -> None:
    with pytest.raises(BadKey):
        credential(read_headers([(b"authorization", b"Bearer " + value)]))


def test_attribution_is_read_from_our_headers_and_known_aliases() -> None:
    found = read_headers(
        [
            (b"x-customer-id", b"acme"),
            (b"observe-feature", b"summary"),
            (b"observe-task-id", b"t-1"),
            (b"observe-property-env", b"prod"),
        ]
    )
    assert (found.customer, found.feature, found.task_id) == ("acme", "summary", "t-1")
    assert found.properties == {"env": "prod"}


@pytest.mark.parametrize("order", [1, -1])
def test_headers_that_disagree_are_refused(order: int) -> None:
    headers = [(b"observe-customer", b"acme"), (b"x-customer-id", b"globex")][::order]
    with pytest.raises(BadRequest) as told:
        read_headers(headers)
    assert told.value.code == "attribution_conflict"


@pytest.mark.parametrize("value", [b"", b"a b", b"a\tb", "é".encode(), b"x" * 129])
def test_identifiers_are_visible_ascii(value: bytes) -> None:
    with pytest.raises(BadRequest):
        read_headers([(b"observe-customer", value)])


def test_a_bound_key_speaks_for_its_customer_alone() -> None:
    key = record(customer="acme", assertion="none")
    assert attribute(key, read_headers([])).customer == "acme"
    assert attribute(key, read_headers([(b"observe-customer", b"acme")])).customer == "acme"
    with pytest.raises(Forbidden) as told:
        attribute(key, read_headers([(b"observe-customer", b"globex")]))
    assert told.value.code == "customer_not_allowed"


def test_a_listed_key_speaks_for_those_on_its_list() -> None:
    key = record(assertion="listed", customers=("acme",), default_customer="house")
    assert attribute(key, read_headers([])).customer == "house"
    assert attribute(key, read_headers([(b"observe-customer", b"acme")])).customer == "acme"
    with pytest.raises(Forbidden):
        attribute(key, read_headers([(b"observe-customer", b"globex")]))


def test_a_missing_scope_is_named() -> None:
    with pytest.raises(Forbidden, match=r"metrics\.read") as told:
        require_scope(record(), "metrics.read")
    assert told.value.code == "insufficient_scope"


def test_a_list_of_models_leaves_some_targets_or_refuses() -> None:
    targets = [Target("openai", "gpt-4o", "openai"), Target("anthropic", "claude-haiku-4-5", "anthropic")]
    found: Any = [SimpleNamespace(target=target) for target in targets]
    assert allowed_targets(record(), "mixed", found) is found
    for models in (("openai/*",), ("gpt-4o",), ("gpt*", "other/*")):
        key = record(models=models)
        assert allowed_targets(key, "mixed", found) == found[:1]
        require_target(key, "mixed", targets)
        for refused in (
            lambda key=key: allowed_targets(key, "mixed", found[1:]),
            lambda key=key: require_target(key, "mixed", targets[1:]),
        ):
            with pytest.raises(Forbidden) as told:
                refused()
            assert (told.value.code, told.value.param) == ("model_not_allowed", "model")
