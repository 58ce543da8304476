from __future__ import annotations

import pytest

from reports.question import Question, QuestionError, parse_dimensions, parse_moment, parse_question

NOW_MS = 1_795_249_200_123  # 2026-11-21T08:20:00.123Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", NOW_MS - 90 * 60_000),
        ("24h", NOW_MS - 86_400_000),
        ("7d", NOW_MS - 7 * 86_400_000),
        (" 2W ", NOW_MS - 14 * 86_400_000),
        ("999999w", 0),
        ("2026-11-01", 1_793_491_200_000),
        ("2026-11-01T12:00", 1_793_534_400_000),
        ("2026-11-01T12:00:00.250Z", 1_793_534_400_250),
        ("2026-11-01T12:00+02:00", 1_793_527_200_000),
    ],
)
def test_moment_is_so_long_ago_or_a_date_in_utc(text: str, expected: int) -> None:
    assert parse_moment(text, NOW_MS) == expected


@pytest.mark.parametrize("text", ["", "yesterday", "7", "7y", "-1d", "2026-13-01", "1.5h"])
def test_other_words_are_no_moment(text: str) -> None:
    with pytest.raises(QuestionError, match="is not a moment; write 24h"):
        parse_moment(text, NOW_MS)


def test_dimensions_keep_their_order_and_may_be_none() -> None:
    assert parse_dimensions("feature, Customer") == ("feature", "customer")
    assert parse_dimensions("") == ()


def test_unknown_and_repeated_dimensions_are_told() -> None:
    with pytest.raises(QuestionError, match="'team' is not something to report by; known: customer"):
        parse_dimensions("customer,team")
    with pytest.raises(QuestionError, match="'day' is given twice"):
        parse_dimensions("day,day")


def test_question_has_a_span_that_is_not_empty() -> None:
    assert parse_question("day", "7d", "24h", NOW_MS) == Question(
        ("day",), NOW_MS - 7 * 86_400_000, NOW_MS - 86_400_000
    )
    assert parse_question("", "7d", None, NOW_MS).until_ms is None
    with pytest.raises(QuestionError, match="the span is empty"):
        parse_question("day", "24h", "7d", NOW_MS)
