"""A cursor leads back into its own list, and nothing else is a cursor."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.cursor import decode_cursor, encode_cursor
from gateway.errors import BadRequest

LIST = ("events", "acme", None, "open", 7)
PARTS = st.tuples(st.integers(-(2**53), 2**53), st.text(st.characters(codec="utf-8"), max_size=20))


@given(PARTS)
def test_a_cursor_comes_back_as_it_went(place: tuple[int, str]) -> None:
    assert decode_cursor(LIST, encode_cursor(LIST, place), (int, str)) == list(place)


@given(PARTS, st.sampled_from([("events", "other", None, "open", 7), ("events", "acme", "x", "open", 7), ()]))
def test_a_cursor_of_another_list_is_none(place: tuple[int, str], other: tuple[object, ...]) -> None:
    with pytest.raises(BadRequest) as told:
        decode_cursor(other, encode_cursor(LIST, place), (int, str))  # type: ignore[arg-type]
    assert (told.value.code, told.value.param) == ("invalid_cursor", "cursor")


@given(PARTS, st.data())
def test_a_changed_cursor_is_none(place: tuple[int, str], data: st.DataObject) -> None:
    raw = bytearray(base64.urlsafe_b64decode(encode_cursor(LIST, place) + "=="))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(BadRequest):
        decode_cursor(LIST, base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode(), (int, str))


@given(st.text(max_size=60))
def test_what_anybody_writes_is_none(text: str) -> None:
    with pytest.raises(BadRequest):
        decode_cursor(LIST, text, (int, str))


def test_parts_of_other_kinds_are_none() -> None:
    cursor = encode_cursor(LIST, (1, "a"))
    for kinds in ((str, str), (int,), (int, str, int), (bool, str)):
        with pytest.raises(BadRequest):
            decode_cursor(LIST, cursor, kinds)
