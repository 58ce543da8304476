from __future__ import annotations

import pytest

from simulator.directive import HALFWAY, NONE, find, parse
from simulator.errors import Refusal


def test_directives_are_found_in_text_and_read() -> None:
    words = find("Hello [[simulate: status=429 retry_after=2]] and [[simulate: times=1]]")
    assert words == "status=429 retry_after=2 times=1"
    wish = parse(words)
    assert (wish.status, wish.retry_after, wish.times, wish.id) == (429, "2", 1, words)
    assert find("nothing here") is None
    assert parse("") == NONE


def test_values_with_spaces_are_quoted_and_bare_names_have_defaults() -> None:
    wish = parse('retry_after="Wed, 21 Oct 2026 07:28:00 GMT" dribble wrong_length error_in_stream no_usage')
    assert wish.retry_after == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert (wish.dribble, wish.wrong_length, wish.error_in_stream, wish.no_usage) == (1.0, 10, HALFWAY, True)
    assert parse("wrong_length=-4").wrong_length == -4


def test_settled_keeps_size_and_pace_and_drops_misbehaviour() -> None:
    wish = parse("tokens=5 pace_ms=2 status=500 no_usage").settled()
    assert (wish.tokens, wish.pace_ms, wish.status, wish.no_usage) == (5, 2.0, None, False)


@pytest.mark.parametrize(
    "words",
    [
        "statsu=429",
        "status",
        "status=200",
        "tokens=many",
        "hang=later",
        "pace_ms=-1",
        "tokens='5",
    ],
)
def test_a_directive_that_is_not_understood_is_refused_and_named(words: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse(words)
    assert caught.value.status == 400
    assert words in caught.value.message or words.strip("'") in caught.value.message
