"""The sums inside one band of flat rates, against figures worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.charge import Band
from metering.cost import Cost
from metering.money import pico_to_nano_half_even
from metering.plan import Terms
from metering.usage import Usage

ENTRY = "p/m/initial#default"
FULL = {
    "input_tokens": 3_000_000,
    "cache_read_input_tokens": 300_000,
    "cache_write_input_tokens": 3_750_000,
    "cache_write_1h_input_tokens": 6_000_000,
    "input_audio_tokens": 40_000_000,
    "cache_read_audio_tokens": 2_500_000,
    "output_tokens": 15_000_000,
    "output_audio_tokens": 80_000_000,
    "web_searches": 10_000_000_000,
}


def band(
    rates: dict[str, int], billed_as: dict[str, str] | None = None, minimums: dict[str, int] | None = None
) -> Band:
    terms = Terms(billed_as or {}, frozenset(), minimums or {})
    return Band({unit: (pico, ENTRY) for unit, pico in rates.items()}, terms)


def lines(cost: Cost) -> dict[str, int]:
    return {line.unit: line.quantity for line in cost.lines}


def test_every_token_is_charged_once_at_its_own_rate() -> None:
    usage = Usage(
        input_tokens=1_000,
        cache_read_input_tokens=400,
        cache_write_5m_input_tokens=200,
        cache_write_1h_input_tokens=100,
        output_tokens=50,
        reasoning_output_tokens=30,
    )
    cost = band(FULL).cost(usage)
    # 300 x $3 + 400 x $0.30 + 200 x $3.75 + 100 x $6 + 50 x $15 per million
    assert cost.nano == 900_000 + 120_000 + 750_000 + 600_000 + 750_000
    assert cost == Cost(cost.nano, "priced", cost.lines, (ENTRY,), cost.nano)
    assert lines(cost) == {
        "input_tokens": 300,
        "cache_read_input_tokens": 400,
        "cache_write_5m_input_tokens": 200,
        "cache_write_1h_input_tokens": 100,
        "output_tokens": 20,
        "reasoning_output_tokens": 30,
    }


def test_cached_audio_is_neither_cached_text_nor_new_audio() -> None:
    usage = Usage(
        input_tokens=100, cache_read_input_tokens=50, input_audio_tokens=60, cache_read_audio_tokens=20
    )
    cost = band(FULL).cost(usage)
    assert lines(cost) == {
        "cache_read_audio_tokens": 20,
        "cache_read_input_tokens": 30,
        "input_audio_tokens": 40,
        "input_tokens": 10,
    }
    assert cost.nano == 20 * 2_500 + 30 * 300 + 40 * 40_000 + 10 * 3_000


def test_cached_tokens_without_a_rate_cost_the_input_rate_and_are_named() -> None:
    cost = band({"input_tokens": 1_000_000, "output_tokens": 1}).cost(
        Usage(input_tokens=10, cache_read_input_tokens=4)
    )
    assert (cost.nano, cost.status, cost.upper_nano) == (10_000, "priced", 10_000)
    assert cost.unpriced_units == ("cache_read_input_tokens",)


def test_cache_writes_without_a_rate_have_no_known_upper_bound() -> None:
    cost = band({"input_tokens": 1_000_000}).cost(Usage(input_tokens=10, cache_write_5m_input_tokens=4))
    assert (cost.nano, cost.upper_nano, cost.unpriced_units) == (
        10_000,
        None,
        ("cache_write_5m_input_tokens",),
    )


def test_reasoning_without_a_rate_is_output_and_nothing_is_said() -> None:
    cost = band({"output_tokens": 2_000_000}).cost(Usage(output_tokens=10, reasoning_output_tokens=9))
    assert (cost.nano, cost.unpriced_units) == (20_000, ())


def test_a_reasoning_rate_of_its_own_is_used() -> None:
    cost = band({"output_tokens": 8_000_000, "reasoning_output_tokens": 3_000_000}).cost(
        Usage(output_tokens=10, reasoning_output_tokens=9)
    )
    assert cost.nano == 8_000 + 27_000


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input_tokens=10, input_audio_tokens=4),
        Usage(input_tokens=10, input_image_tokens=4),
        Usage(output_tokens=10, output_image_tokens=4),
        Usage(input_tokens=10, extra=(("input_video_tokens", 4),)),
        Usage(input_tokens=10, extra=(("web_searches", 1),)),
        Usage(input_tokens=10, extra=(("something_new", 1),)),
    ],
)
def test_what_has_no_rate_makes_the_cost_unknown_never_zero(usage: Usage) -> None:
    cost = band({"input_tokens": 1_000_000, "output_tokens": 1_000_000}).cost(usage)
    assert (cost.nano, cost.status, cost.upper_nano) == (None, "unpriced", None)
    assert len(cost.unpriced_units) == 1
    assert all(line.unit not in cost.unpriced_units for line in cost.lines)


def test_output_without_an_output_rate_is_unpriced_but_none_is_fine() -> None:
    embedding = band({"input_tokens": 20_000})
    assert embedding.cost(Usage(input_tokens=50)).nano == 1_000
    assert embedding.cost(Usage(input_tokens=50, output_tokens=1)).nano is None


def test_images_billed_as_input_are_not_taken_out_of_it() -> None:
    chat = band(
        {"input_tokens": 1_000_000, "cache_read_input_tokens": 500_000},
        billed_as={"input_image_tokens": "input_tokens"},
    )
    usage = Usage(input_tokens=1_000, cache_read_input_tokens=800, input_image_tokens=500)
    cost = chat.cost(usage)
    assert (cost.nano, cost.notes, cost.unpriced_units) == (200_000 + 400_000, (), ())
    both = chat.cost(Usage.from_document(usage.document() | {"cache_read_image_tokens": 400}))
    assert (both.nano, both.notes) == (cost.nano, ())


def test_more_images_than_input_are_charged_as_input_and_it_is_said() -> None:
    chat = band({"input_tokens": 1_000_000}, billed_as={"input_image_tokens": "input_tokens"})
    cost = chat.cost(Usage(input_tokens=10, input_image_tokens=50))
    assert cost.nano == 50_000
    assert "input_image_tokens (50)" in cost.notes[0]
    assert chat.cost(Usage(input_image_tokens=50)).nano == 50_000


def test_a_part_larger_than_its_whole_is_charged_in_full_beside_it() -> None:
    """As where a provider counts reasoning apart from output: the dearest reading, and never negative."""
    cost = band(FULL).cost(Usage(output_tokens=10, reasoning_output_tokens=300))
    assert cost.nano == 310 * 15_000
    assert cost.notes == (
        "reasoning_output_tokens (300) exceeds output_tokens (10); each was charged in full",
    )


def test_an_unreported_overlap_is_taken_to_be_as_small_as_it_can_be() -> None:
    cost = band(FULL).cost(Usage(input_tokens=100, cache_read_input_tokens=80, input_audio_tokens=50))
    assert lines(cost) == {
        "cache_read_audio_tokens": 30,
        "cache_read_input_tokens": 50,
        "input_audio_tokens": 20,
    }
    assert cost.notes == ("30 cache_read_audio_tokens were not reported, but follow from the other counts",)


def test_negative_counts_are_taken_as_zero_and_named() -> None:
    cost = band(FULL).cost(Usage(input_tokens=10, cache_read_input_tokens=-5, output_tokens=-1))
    assert cost.nano == 30_000
    assert cost.notes == ("negative counts were taken as 0: cache_read_input_tokens, output_tokens",)


def test_the_sum_is_rounded_once_and_lines_add_up_to_it() -> None:
    # Three lines of 400 pico each: every one rounds down, their sum is 1.2 nano.
    cost = band({"input_tokens": 400, "cache_read_input_tokens": 400, "output_tokens": 400}).cost(
        Usage(input_tokens=2, cache_read_input_tokens=1, output_tokens=1)
    )
    assert cost.nano == 1
    assert [line.cost_nano for line in cost.lines] == [1, 0, 0]


def test_seconds_are_priced_by_the_hour_without_losing_a_digit() -> None:
    # $0.111 an hour is no whole number of pico-dollars a second.
    cost = band({"audio_seconds": 111_000_000_000}).cost(Usage(extra=(("input_audio_seconds", 100),)))
    assert cost.nano == 3_083_333
    assert cost.lines[0].price_pico == 111_000_000_000


def test_a_minimum_is_charged_where_anything_is() -> None:
    whisper = band({"audio_seconds": 3_600_000_000_000}, minimums={"audio_seconds": 10})
    assert whisper.cost(Usage(extra=(("audio_seconds", 3),))).nano == 10_000_000
    assert whisper.cost(Usage(extra=(("audio_seconds", 12),))).nano == 12_000_000
    assert whisper.cost(Usage()).nano == 0


def graduated(*steps: tuple[int, int]) -> Band:
    """The number of characters sets the rate of each part of them."""
    return Band(
        {"input_characters": (max(pico for _, pico in steps), ENTRY)}, graduated={"input_characters": steps}
    )


@pytest.mark.parametrize(
    ("count", "pico"),
    [
        (1, 3_000_000),
        (999, 999 * 3_000_000),
        (1_000, 1_000 * 3_000_000),
        (1_001, 1_000 * 3_000_000 + 2_000_000),
        (5_000, 1_000 * 3_000_000 + 4_000 * 2_000_000),
        (5_001, 1_000 * 3_000_000 + 4_000 * 2_000_000 + 1_000_000),
    ],
)
def test_a_graduated_rate_goes_by_the_number_and_only_for_what_exceeds_it(count: int, pico: int) -> None:
    band = graduated((-1, 3_000_000), (1_000, 2_000_000), (5_000, 1_000_000))
    cost = band.cost(Usage(extra=(("input_characters", count),)))
    assert cost.nano == pico // 1_000
    assert sum(line.cost_nano for line in cost.lines) == cost.nano
    assert sum(line.quantity for line in cost.lines) == count
    assert band.dearest_of("input_characters") == 3_000_000


def test_what_is_charged_once_is_charged_once_however_often_it_was() -> None:
    grounded = Band({"web_searches": (35_000_000_000, ENTRY)}, Terms(once=frozenset({"web_searches"})))
    costs = [grounded.cost(Usage(extra=(("web_searches", count),))).nano for count in (0, 1, 2, 9)]
    assert costs == [0, 35_000_000, 35_000_000, 35_000_000]


def test_a_qualified_unit_is_inside_the_plain_one_and_falls_back_to_it() -> None:
    images = band({"output_images": 30_000_000_000, "output_images:1024x1024:hd": 80_000_000_000})
    both = Usage(extra=(("output_images", 3), ("output_images:1024x1024:hd", 2)))
    cost = images.cost(both)
    assert (cost.nano, lines(cost)) == (190_000_000, {"output_images": 1, "output_images:1024x1024:hd": 2})
    other = images.cost(Usage(extra=(("output_images:512x512:hd", 2),)))
    assert (other.nano, other.unpriced_units) == (60_000_000, ())
    unknown = images.cost(Usage(extra=(("output_images:1:2:3", 1),)))
    assert (unknown.nano, unknown.unpriced_units) == (None, ("output_images:1:2:3",))


def test_repeated_extra_counts_are_added_up() -> None:
    searching = band({"input_tokens": 1_000, "web_searches": 10_000})
    assert searching.cost(Usage(extra=(("web_searches", 2), ("web_searches", 3)))).nano == 50
    assert searching.cost(Usage(input_tokens=1, extra=(("input_tokens", 4),))).nano == 5


def test_free_is_said_only_where_all_rates_are_zero() -> None:
    assert band({"input_tokens": 0, "output_tokens": 0}).cost(Usage(input_tokens=9)).status == "free"
    assert band({"input_tokens": 1, "output_tokens": 0}).cost(Usage(output_tokens=9)).status == "priced"
    assert band({"input_tokens": 1}).cost(Usage()).status == "priced"


def test_fees_per_request_are_charged_and_their_absence_is_no_gap() -> None:
    assert band({"requests": 12_000_000_000}).cost(Usage(requests=2)).nano == 24_000_000
    assert band({"input_tokens": 1}).cost(Usage(requests=2)).unpriced_units == ()


def test_a_flood_of_invented_units_does_not_fill_memory() -> None:
    small = band({"input_tokens": 1})
    for number in range(600):
        small.cost(Usage(extra=((f"unit_{number}", 1),)))
    assert len(small._plans) <= 257


AMOUNTS = st.integers(0, 10**7)


@given(
    text=AMOUNTS,
    cached=AMOUNTS,
    audio=AMOUNTS,
    both=AMOUNTS,
    write5=AMOUNTS,
    write1=AMOUNTS,
    out=AMOUNTS,
    thinking=AMOUNTS,
    spoken=AMOUNTS,
    searches=st.integers(0, 9),
)
def test_disjoint_parts_cost_the_same_however_they_are_reported(
    text: int,
    cached: int,
    audio: int,
    both: int,
    write5: int,
    write1: int,
    out: int,
    thinking: int,
    spoken: int,
    searches: int,
) -> None:
    """Built up from disjoint parts, inclusive totals must come apart into exactly those parts."""
    usage = Usage(
        input_tokens=text + cached + audio + both + write5 + write1,
        cache_read_input_tokens=cached + both,
        cache_write_5m_input_tokens=write5,
        cache_write_1h_input_tokens=write1,
        input_audio_tokens=audio + both,
        cache_read_audio_tokens=both,
        output_tokens=out + thinking + spoken,
        reasoning_output_tokens=thinking,
        output_audio_tokens=spoken,
        extra=(("web_searches", searches),),
    )
    cost = band(FULL).cost(usage)
    pico = (
        text * 3_000_000 + cached * 300_000 + audio * 40_000_000 + both * 2_500_000 + write5 * 3_750_000
        + write1 * 6_000_000 + (out + thinking) * 15_000_000 + spoken * 80_000_000
        + searches * 10_000_000_000
    )  # fmt: skip
    assert cost.nano == pico_to_nano_half_even(pico)
    assert sum(line.cost_nano for line in cost.lines) == cost.nano
    assert cost.notes == ()


@given(
    st.fixed_dictionaries(
        {
            name: st.integers(-50, 10**4)
            for name in (
                "input_tokens",
                "cache_read_input_tokens",
                "cache_write_5m_input_tokens",
                "cache_write_1h_input_tokens",
                "input_audio_tokens",
                "cache_read_audio_tokens",
                "output_tokens",
                "reasoning_output_tokens",
                "output_audio_tokens",
            )
        }
    )
)
def test_whatever_is_reported_nothing_is_negative_and_lines_add_up(counts: dict[str, int]) -> None:
    cost = band(FULL).cost(Usage(**counts))
    assert cost.nano is not None
    assert cost.nano >= 0
    assert all(line.quantity > 0 and line.cost_nano >= 0 for line in cost.lines)
    assert sum(line.cost_nano for line in cost.lines) == cost.nano
