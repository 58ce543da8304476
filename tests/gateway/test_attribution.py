"""What headers, body metadata and baggage say of whom a request is for."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import attribute
from gateway.attribution import PROPERTIES_MAX, Headers, HeaderTable
from gateway.errors import BadRequest, Forbidden
from gateway.settings.attribution import SHIPPED_ALIASES, AttributionSettings
from tests.gateway.test_admission import record

TABLE = HeaderTable(AttributionSettings())
Raw = list[tuple[bytes, bytes]]


def table(**settings: Any) -> HeaderTable:
    return HeaderTable(AttributionSettings(**settings))


def told(found: Headers) -> dict[str, Any]:
    names = ("customer", "feature", "task_id", "workspace", "user", "trace_id")
    return {name: getattr(found, name) for name in names if getattr(found, name) is not None}


@pytest.mark.parametrize(
    ("headers", "expected", "properties"),
    [
        ([(b"observe-customer", b"acme")], {"customer": "acme"}, {}),
        ([(b"observe-feature", b"summary")], {"feature": "summary"}, {}),
        ([(b"observe-task-id", b"t-1")], {"task_id": "t-1"}, {}),
        ([(b"observe-workspace", b"eu")], {"workspace": "eu"}, {}),
        ([(b"observe-user", b"u-9")], {"user": "u-9"}, {}),
        ([(b"observe-trace-id", b"tr-1")], {"trace_id": "tr-1"}, {}),
        ([(b"observe-property-env", b"prod")], {}, {"env": "prod"}),
        ([(b"observe-property-customer", b"acme")], {}, {"customer": "acme"}),
        ([(b"x-customer-id", b"acme")], {"customer": "acme"}, {}),
        ([(b"x-feature-key", b"summary")], {"feature": "summary"}, {}),
        ([(b"x-litellm-customer-id", b"acme")], {"customer": "acme"}, {}),
        ([(b"helicone-user-id", b"u-9")], {"user": "u-9"}, {}),
        ([(b"helicone-property-app", b"web")], {}, {"app": "web"}),
        ([(b"helicone-property-feature", b"chat")], {"feature": "chat"}, {}),
        ([(b"x-bf-dim-team", b"red")], {}, {"team": "red"}),
        ([(b"x-bf-dim-customer_id", b"acme")], {"customer": "acme"}, {}),
        (
            [
                (
                    b"x-portkey-metadata",
                    b'{"_user":"u-9","feature":"x","env":"dev","tries":3,"beta":true,"n":null}',
                )
            ],
            {"user": "u-9", "feature": "x"},
            {"env": "dev", "tries": "3", "beta": "true"},
        ),
    ],
)
def test_each_shipped_header_tells_what_it_should(
    headers: Raw, expected: dict[str, str], properties: dict[str, str]
) -> None:
    found = TABLE.read(headers)
    assert told(found) == expected
    assert found.properties == properties


EXPLICIT = [
    (b"observe-customer", b"%s"),
    (b"x-customer-id", b"%s"),
    (b"x-litellm-customer-id", b"%s"),
    (b"x-bf-dim-customer", b"%s"),
    (b"helicone-property-customer_id", b"%s"),
    (b"x-portkey-metadata", b'{"customer":"%s"}'),
]


@given(st.lists(st.tuples(st.sampled_from(EXPLICIT), st.sampled_from([b"acme", b"globex"])), max_size=6))
def test_explicit_headers_agree_or_are_refused_in_any_order(sent: list[Any]) -> None:
    headers = [(name, template % value) for (name, template), value in sent]
    customers = {value for _, value in sent}
    if len(customers) > 1:
        with pytest.raises(BadRequest) as refused:
            TABLE.read(headers)
        assert refused.value.code == "attribution_conflict"
    else:
        assert TABLE.read(headers).customer == (customers.pop().decode() if customers else None)


def test_the_same_property_told_twice_and_not_alike_is_a_conflict() -> None:
    same = [(b"observe-property-env", b"prod"), (b"helicone-property-env", b"prod")]
    assert TABLE.read(same).properties == {"env": "prod"}
    with pytest.raises(BadRequest) as refused:
        TABLE.read([(b"observe-property-env", b"prod"), (b"x-bf-dim-env", b"dev")])
    assert refused.value.code == "attribution_conflict"


@pytest.mark.parametrize(
    "name", ["observe-customer", "observe-trace-id", "x-customer-id", "helicone-user-id"]
)
@pytest.mark.parametrize("value", [b"", b" ", b"a b", b"a\tb", "é".encode(), b"x" * 129, b"a\x7f"])
def test_identifiers_are_visible_ascii(name: str, value: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        TABLE.read([(name.encode(), value)])
    assert refused.value.param == name
    assert TABLE.read([(name.encode(), b"x" * 128)])


@pytest.mark.parametrize(
    "value",
    [
        *(b"{", b"[]", b"3", b"null", b'{"a":{"b":1}}', b'{"a":[1]}', b'{"":"x"}', b'{"customer":"a b"}'),
        *(b'{"a":"' + b"x" * 257 + b'"}', b'{"a":"' + b"x" * 5_000 + b'"}', '{"ü":"x"}'.encode()),
    ],
)
def test_a_json_header_that_cannot_be_used_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest) as refused:
        TABLE.read([(b"x-portkey-metadata", value)])
    assert refused.value.code == "invalid_header"


def test_properties_are_bounded_in_number_whoever_sends_them() -> None:
    most = [(b"observe-property-p%d" % n, b"x") for n in range(PROPERTIES_MAX)]
    assert len(TABLE.read(most).properties) == PROPERTIES_MAX
    for more in ((b"observe-property-q", b"x"), (b"x-portkey-metadata", b'{"q":"x"}')):
        with pytest.raises(BadRequest, match="At most"):
            TABLE.read([*most, more])


def test_the_table_is_the_operators() -> None:
    mine = table(aliases={"X-Tenant": "customer", "X-Tag-*": "property"}, names={"area": "feature"})
    found = mine.read(
        [(b"x-tenant", b"acme"), (b"x-tag-area", b"chat"), (b"x-tag-team", b"red"), (b"x-customer-id", b"no")]
    )
    assert told(found) == {"customer": "acme", "feature": "chat"}
    assert found.properties == {"team": "red"}
    as_customer = table(aliases=SHIPPED_ALIASES | {"Helicone-User-Id": "customer"})
    assert as_customer.read([(b"helicone-user-id", b"acme")]).customer == "acme"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"aliases": {"X-Tenant": "client"}}, "'client' is unknown; known: customer, feature, task"),
        ({"aliases": {"X-Tag-*": "customer"}}, "known: property"),
        ({"aliases": {"X Tenant": "customer"}}, "not a header's name"),
        ({"aliases": {"Authorization": "customer"}}, "meaning of its own"),
        ({"aliases": {"Observe-Customer": "feature"}}, "meaning of its own"),
        ({"aliases": {"Obs*": "property"}}, "meaning of its own"),
        ({"aliases": {"X-T": "customer", "x-t": "feature"}}, "given twice"),
        ({"names": {"area": "place"}}, "'place' is unknown"),
        ({"required_headers": ["X-Customer-Id"]}, "cannot be required; known: Observe-Customer"),
        ({"required_headers": ["Observe-Property-"]}, "cannot be required"),
    ],
)
def test_settings_that_cannot_be_are_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AttributionSettings(**settings)


# Beside the headers: the body's metadata and baggage.

BODY = {"metadata": {"customer_id": "acme", "feature": "chat", "note": "anything at all, è"}}
BAGGAGE = (b"baggage", b"obs.customer=globex;p=1, observe.feature=a%2Fb,userid=7,broken,workspace=eu")


def test_metadata_and_baggage_say_nothing_unless_the_key_lets_them() -> None:
    caller = attribute(record(), TABLE.read([BAGGAGE]), TABLE, BODY)
    assert (caller.customer, caller.feature) == (None, None)


def test_metadata_comes_before_baggage_and_both_after_headers() -> None:
    key = record(sources=("metadata", "baggage"))
    found = TABLE.read([BAGGAGE])
    caller = attribute(key, found, TABLE, BODY)
    assert (caller.customer, caller.feature, found.workspace) == ("acme", "chat", "eu")
    assert found.properties == {}
    caller = attribute(key, TABLE.read([BAGGAGE]), TABLE, {})
    assert (caller.customer, caller.feature) == ("globex", "a/b")
    headers = [(b"x-customer-id", b"initech"), BAGGAGE]
    assert attribute(key, TABLE.read(headers), TABLE, BODY).customer == "initech"


def test_what_an_older_copy_of_the_key_allowed_is_forgotten() -> None:
    found = TABLE.read([(b"observe-user", b"u-1"), BAGGAGE])
    assert attribute(record(sources=("metadata", "baggage")), found, TABLE, BODY).customer == "acme"
    assert attribute(record(sources=("baggage",)), found, TABLE, BODY).customer == "globex"
    assert attribute(record(), found, TABLE, BODY).customer is None
    assert told(found) == {"user": "u-1"}


def test_a_binding_comes_before_all_and_a_default_after_all() -> None:
    key = record(sources=("metadata",), customer="house", default_feature="misc")
    assert attribute(key, TABLE.read([]), TABLE, {}).feature == "misc"
    assert attribute(key, TABLE.read([]), TABLE, BODY).feature == "chat"
    assert attribute(key, TABLE.read([(b"observe-customer", b"house")]), TABLE, {}).customer == "house"
    assert attribute(key, TABLE.read([]), TABLE, BODY).customer == "house"


def test_what_metadata_says_is_asserted_like_a_header() -> None:
    key = record(sources=("metadata",), assertion="listed", customers=("acme",), features=())
    with pytest.raises(Forbidden) as refused:
        attribute(key, TABLE.read([]), TABLE, BODY)
    assert refused.value.code == "feature_not_allowed"


@pytest.mark.parametrize("metadata", [{"customer": "a b"}, {"customer": "x" * 129}])
def test_metadata_that_cannot_be_an_id_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(BadRequest) as refused:
        attribute(record(sources=("metadata",)), TABLE.read([]), TABLE, {"metadata": metadata})
    assert (refused.value.code, refused.value.param) == ("invalid_value", "metadata.customer")


def test_metadata_that_names_one_thing_twice_is_a_conflict() -> None:
    body = {"metadata": {"customer": "acme", "customer_id": "globex"}}
    with pytest.raises(BadRequest) as refused:
        attribute(record(sources=("metadata",)), TABLE.read([]), TABLE, body)
    assert refused.value.code == "attribution_conflict"


@pytest.mark.parametrize("metadata", [None, 3, "x", [], {"customer": 3}, {"customer": None}])
def test_metadata_of_other_shapes_says_nothing(metadata: Any) -> None:
    caller = attribute(record(sources=("metadata",)), TABLE.read([]), TABLE, {"metadata": metadata})
    assert caller.customer is None


@given(st.binary(max_size=300))
def test_no_baggage_breaks_the_reading(value: bytes) -> None:
    found = TABLE.read([(b"baggage", value)])
    try:
        attribute(record(sources=("baggage",)), found, TABLE, {})
    except BadRequest as error:
        assert error.code in ("invalid_value", "attribution_conflict")  # noqa: PT017


NESTED = st.recursive(
    st.none() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)


@given(st.dictionaries(st.text(max_size=8), NESTED, max_size=8))
def test_no_json_header_breaks_the_reading(document: dict[str, Any]) -> None:
    try:
        TABLE.read([(b"x-portkey-metadata", orjson.dumps(document))])
    except BadRequest as error:
        assert error.code in ("invalid_header", "attribution_conflict")  # noqa: PT017


# What must be told.


def test_required_headers_are_named_when_they_are_missing() -> None:
    asks = table(required_headers=["Observe-Customer", "Observe-Property-Team"])
    with pytest.raises(BadRequest) as refused:
        attribute(record(), asks.read([]), asks, {})
    assert (refused.value.code, refused.value.param) == ("missing_required_header", "Observe-Customer")
    with pytest.raises(BadRequest, match="Observe-Property-Team"):
        attribute(record(), asks.read([(b"x-customer-id", b"acme")]), asks, {})
    headers = [(b"x-customer-id", b"acme"), (b"x-bf-dim-team", b"red")]
    assert attribute(record(), asks.read(headers), asks, {}).customer == "acme"


def test_what_is_bound_or_a_default_need_not_be_sent() -> None:
    asks = table(required_headers=["observe-customer", "observe-feature"])
    key = record(customer="acme", default_feature="chat", assertion="none")
    assert attribute(key, asks.read([]), asks, {}).customer == "acme"


def test_a_key_can_require_more_than_the_installation() -> None:
    key = record(required=("Observe-Task-Id",))
    with pytest.raises(BadRequest) as refused:
        attribute(key, TABLE.read([]), TABLE, {})
    assert refused.value.param == "Observe-Task-Id"
    attribute(key, TABLE.read([(b"observe-task-id", b"t-1")]), TABLE, {})


# The rest of the headers.


def test_one_idempotency_key_of_visible_ascii() -> None:
    assert TABLE.read([(b"idempotency-key", b" k-1 ")]).idempotency_key == b"k-1"
    for value in (b"", b"a b", b"x" * 256, "é".encode()):
        with pytest.raises(BadRequest, match="idempotency-key"):
            TABLE.read([(b"idempotency-key", value)])
    with pytest.raises(BadRequest):
        TABLE.read([(b"idempotency-key", b"a"), (b"idempotency-key", b"b")])


@pytest.mark.parametrize(("value", "count"), [(b"0", 0), (b"2", 2), (b"x", 0), (b"-1", 0), (b"9999", 0)])
def test_the_retry_count_of_official_sdks(value: bytes, count: int) -> None:
    assert TABLE.read([(b"x-stainless-retry-count", value)]).retry_count == count
