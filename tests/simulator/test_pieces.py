"""What a maximum leaves of an answer, and how long JSON in no asked-for shape is."""

from __future__ import annotations

import orjson
import pytest

from simulator.pieces import any_json, cut

SAID = ["a", "b", "c"]


@pytest.mark.parametrize(
    ("maximum", "left"),
    [(10, None), (9, None), (8, (4, 2, ["a", "b"])), (6, (4, 2, [])), (5, (4, 1, [])), (3, (3, 0, []))],
)
def test_a_maximum_takes_the_end_first(maximum: int, left: tuple[int, int, list[str]] | None) -> None:
    assert cut(maximum, 4, 2, SAID) == left
    assert SAID == ["a", "b", "c"]


@pytest.mark.parametrize("number", [1, 9, 40, 500])
def test_json_in_no_shape_has_the_length_that_is_wanted(number: int) -> None:
    pieces = any_json(number, 1)
    least = len(any_json(0, 1))
    assert len(pieces) == max(number, least)
    assert orjson.loads("".join(pieces)).keys() == {"answer"}
