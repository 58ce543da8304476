from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator import tokens

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=200, deadline=None)
@given(ANY_TEXT)
def test_pieces_joined_are_the_text_and_never_outnumber_its_bytes(text: str) -> None:
    pieces = tokens.split(text)
    assert "".join(pieces) == text
    assert all(pieces)
    assert tokens.count(text) == len(pieces) <= len(text.encode())


def test_counts_are_those_worked_by_hand() -> None:
    assert tokens.split("What is the capital of Mexico?") == [
        "What",
        " is",
        " the",
        " capital",
        " of",
        " Mexico",
        "?",
    ]
    assert tokens.split('{"a": 12345}') == ["{", '"', "a", '"', ":", " 123", "45", "}"]
    assert tokens.count("") == 0
    assert tokens.count("日本") == 2


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2_000), st.integers(0, 2**32))
def test_an_answer_of_n_pieces_is_counted_as_n_pieces(number: int, seed: int) -> None:
    assert tokens.count("".join(tokens.words(number, seed))) == number
