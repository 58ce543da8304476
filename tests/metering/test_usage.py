from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.usage import FIELDS, Usage

COUNT = st.integers(0, 10**9)
USAGES = st.builds(
    Usage,
    **dict.fromkeys(FIELDS, COUNT),
    extra=st.lists(
        st.tuples(st.sampled_from(["web_searches", "input_video_tokens"]), st.integers(1, 9)),
        unique_by=lambda pair: pair[0],
    ).map(tuple),
)


@given(USAGES)
def test_a_document_reads_back_as_the_same_usage(usage: Usage) -> None:
    assert Usage.from_document(usage.document()) == usage


def test_a_document_holds_only_what_was_counted() -> None:
    usage = Usage(input_tokens=10, output_tokens=2, extra=(("web_searches", 3), ("code_executions", 0)))
    assert usage.document() == {"input_tokens": 10, "output_tokens": 2, "requests": 1, "web_searches": 3}


def test_a_document_without_requests_means_one() -> None:
    assert Usage.from_document({"input_tokens": 5}).requests == 1
    assert Usage.from_document({"input_tokens": 5, "requests": 0}).requests == 0


@given(USAGES, USAGES)
def test_usages_add_up_count_by_count(first: Usage, second: Usage) -> None:
    total = (first + second).document()
    one, two = first.document(), second.document()
    assert total == {name: one.get(name, 0) + two.get(name, 0) for name in total}
    assert total.keys() == one.keys() | two.keys()


@pytest.mark.parametrize(
    ("usage", "sentence"),
    [
        (
            Usage(input_tokens=5, cache_read_input_tokens=6),
            "cache_read_input_tokens + cache_write_5m_input_tokens + cache_write_1h_input_tokens (6) "
            "exceeds input_tokens (5)",
        ),
        (
            Usage(output_tokens=5, reasoning_output_tokens=300),
            "reasoning_output_tokens (300) exceeds output_tokens (5)",
        ),
        (Usage(input_tokens=-1), "input_tokens is negative (-1)"),
        (Usage(extra=(("web_searches", -2),)), "web_searches is negative (-2)"),
        (
            Usage(input_tokens=9, input_audio_tokens=3, cache_read_audio_tokens=3),
            "cache_read_audio_tokens (3) exceeds cache_read_input_tokens (0)",
        ),
    ],
)
def test_a_contradiction_names_both_figures(usage: Usage, sentence: str) -> None:
    assert usage.contradiction() == sentence


def test_parts_that_overlap_are_no_contradiction() -> None:
    usage = Usage(
        input_tokens=100, cache_read_input_tokens=80, input_audio_tokens=60, cache_read_audio_tokens=40
    )
    assert usage.contradiction() is None
