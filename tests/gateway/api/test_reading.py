"""Queries and bodies become their models exactly, or the fault is named with its field."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BeforeValidator, Field

from gateway.api.fields import Asked, Moment, Name, Paged, exact, moment_ms, moment_text
from gateway.api.reading import json_of, read_body, read_query
from gateway.errors import BadRequest


class Thing(Asked):
    name: Name
    amount: Annotated[Decimal, BeforeValidator(exact)] | None = None
    count: Annotated[int, Field(ge=0)] = 0
    more: Any = None


class Query(Paged):
    customer_id: Name | None = None
    date_from: Moment | None = None


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        (b'{"name":"a","nmae":"b"}', "nmae", "Unknown field: nmae; known: name, amount, count, more."),
        (b'{"name":"a","x":1,"y":2}', "x", "Unknown fields: x, y"),
        (b'{"count":1}', "name", "name: Field required."),
        (b'{"name":"a","count":-1}', "count", "count: Input should be greater than or equal to 0."),
        (b'{"name":""}', "name", "at least 1 character"),
        (b'{"name":"a b"}', "name", "name: "),
        (b'{"name":"a","count":1,"z":1}', "z", "Unknown field: z"),
        (b'{"name":7,"z":1}', "name", "name: write a text, not a number; z: unknown."),
        (b"[]", None, "The body must be a JSON object."),
        (b"", None, "The body is not JSON"),
        (b'{"name":"a","amount":NaN}', None, "NaN is no number"),
        (b'{"name":"a","amount":-Infinity}', None, "-Infinity is no number"),
        (b'{"name":"a","amount":1e99999999999999999999}', None, "The body is not JSON"),
        (b'{"name":"a","more":"\\ud800"}', None, "half of a character"),
        (b'{"name":"\xff"}', None, "not UTF-8"),
        (b'{"name":"a","more":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None, "nested too deeply"),
        (b'{"name":"a","count":' + b"9" * 5_000 + b"}", None, "The body is not JSON"),
    ],
)
def test_a_body_that_is_not_as_declared_is_told_what_is_wrong(
    body: bytes, param: str | None, said: str
) -> None:
    with pytest.raises(BadRequest) as told:
        read_body(Thing, body)
    assert said in told.value.message
    assert told.value.param == param


def test_numbers_keep_every_digit() -> None:
    found = read_body(Thing, b'{"name":"a","amount":0.1000000000000000000001,"count":3}')
    assert found is not None
    assert found.amount == Decimal("0.1000000000000000000001")
    assert found.count == 3


def test_an_endpoint_without_a_body_takes_none() -> None:
    assert read_body(None, b"") is None
    assert read_body(None, b" {} ") is None
    with pytest.raises(BadRequest):
        read_body(None, b'{"a":1}')


@pytest.mark.parametrize(
    ("query", "param"),
    [
        (b"custmer_id=a", "custmer_id"),
        (b"limit=1&limit=2", "limit"),
        (b"limit=0", "limit"),
        (b"limit=201", "limit"),
        (b"limit=ten", "limit"),
        (b"customer_id=a%00b", "customer_id"),
        (b"customer_id=", "customer_id"),
        (b"date_from=yesterday", "date_from"),
        (b"date_from=2026-02-30", "date_from"),
        (b"limit", None),
        (b"a=%FF", None),
        (b"&".join(b"a%d=1" % n for n in range(99)), None),
    ],
)
def test_a_query_that_is_not_as_declared_names_its_field(query: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as told:
        read_query(Query, query)
    assert told.value.param == param


def test_a_query_is_read_as_declared() -> None:
    found = read_query(Query, b"customer_id=a%2Bb&limit=7&date_from=2026-11-21T08:30:00%2B01:00")
    assert found == Query(customer_id="a+b", limit=7, date_from="2026-11-21T07:30:00Z")
    assert read_query(Query, b"") == Query()
    with pytest.raises(BadRequest, match="Unknown query field: x"):
        read_query(None, b"x=1")


@given(st.integers(0, 4_102_444_800_000))
def test_a_moment_that_was_told_is_understood(at_ms: int) -> None:
    text = moment_text(at_ms)
    assert moment_ms(text) == at_ms


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("1970-01-01", 0),
        ("2026-11-21", 1_795_219_200_000),
        ("2026-11-21T00:00:00.5Z", 1_795_219_200_500),
        ("2026-11-21T00:00:00.123456789Z", 1_795_219_200_123),
        ("2026-11-21T01:00+01:00", 1_795_219_200_000),
    ],
)
def test_moments_as_people_write_them(text: str, at_ms: int) -> None:
    assert moment_ms(text) == at_ms


@pytest.mark.parametrize(
    "text", ["1969-12-31", "0001-01-01T00:00:00+14:00", "2026-1-1", 5, "", "2026-11-21T25:00"]
)
def test_what_is_no_moment(text: object) -> None:
    with pytest.raises(ValueError):
        moment_ms(text)


@given(st.binary(max_size=60) | st.text(max_size=40).map(str.encode))
def test_whatever_comes_is_read_or_refused(body: bytes) -> None:
    for read in (
        json_of,
        lambda body: read_query(Query, body.replace(b"#", b"")),
        lambda body: read_body(Thing, body),
    ):
        try:
            read(body)
        except BadRequest as error:
            error.message.encode("ascii" if "Unknown" in error.message else "utf-8")
