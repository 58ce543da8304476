"""How cells of an export are written."""

from __future__ import annotations

import csv
import io

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.columns import Column, csv_parts, jsonl_parts, safe_text

PRINTABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]))


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "'quoted", "=cmd|' /C calc'!A0"]
)
def test_what_a_spreadsheet_would_run_is_text(text: str) -> None:
    assert safe_text(text) == f"'{text}"


def test_what_a_terminal_would_obey_is_written_out() -> None:
    assert safe_text("a\x1b[2J\x00b\x7f") == "a\\x1b[2J\\x00b\\x7f"
    assert safe_text("two\nlines\tand a tab") == "two\nlines\tand a tab"


@given(PRINTABLE)
def test_taking_one_apostrophe_away_gives_every_text_back(text: str) -> None:
    cell = safe_text(text)
    assert (cell[1:] if cell.startswith("'") else cell) == text
    assert not cell.startswith(("=", "+", "-", "@"))


@given(st.lists(st.tuples(PRINTABLE, st.integers(-(2**53), 2**53) | st.none()), max_size=8))
def test_any_text_is_read_back_by_any_csv_reader(lines: list[tuple[str, int | None]]) -> None:
    columns = [Column("name"), Column("cost_usd", "nano")]
    text = b"".join(csv_parts(columns, lines)).decode()
    head, *rows = csv.reader(io.StringIO(text, newline=""))
    assert head == ["name", "cost_usd"]
    assert [row[0] for row in rows] == [safe_text(name) for name, _ in lines]
    assert [row[1] == "" for row in rows] == [nano is None for _, nano in lines]


def test_amounts_have_all_their_digits_and_negative_ones_are_numbers() -> None:
    columns = [Column("a", "nano"), Column("p", "pico"), Column("t", "truth"), Column("at", "moment")]
    line = [-9_007_199_254_740_991, 1, True, 1_793_491_200_007]
    assert b"".join(csv_parts(columns, [line])).splitlines()[1] == (
        b"-9007199.254740991,0.000000000001,true,2026-11-01T00:00:00.007Z"
    )
    (document,) = map(orjson.loads, b"".join(jsonl_parts(columns, [line])).splitlines())
    assert document == {
        "a": "-9007199.254740991",
        "p": "0.000000000001",
        "t": True,
        "at": "2026-11-01T00:00:00.007Z",
    }


def test_parts_are_small_however_many_lines_there_are() -> None:
    columns = [Column("n", "whole")]
    for write in (csv_parts, jsonl_parts):
        parts = list(write(columns, ([n] for n in range(3_001))))
        assert len(parts) == 7
        assert max(map(len, parts)) < 8_000
