from __future__ import annotations

from metering.units import UNITS, depth, join_of, unit_of, within
from metering.usage import FIELDS


def test_every_count_of_a_usage_is_a_unit() -> None:
    assert set(FIELDS) <= UNITS.keys()


def test_a_unit_is_within_all_that_include_it_near_and_far() -> None:
    assert UNITS["cache_write_1h_input_tokens"].within == {"cache_write_input_tokens", "input_tokens"}
    assert UNITS["cache_read_audio_tokens"].within == {
        "cache_read_input_tokens",
        "input_audio_tokens",
        "input_tokens",
    }
    assert depth("cache_read_audio_tokens") > depth("input_audio_tokens") > depth("input_tokens") == 0


def test_a_part_goes_the_same_direction_as_its_whole() -> None:
    for unit in UNITS.values():
        assert {UNITS[whole].family for whole in unit.within} <= {unit.family}
        assert {UNITS[whole].direction for whole in unit.within} <= {unit.direction, None}
        assert all(UNITS[whole].per == unit.per for whole in unit.within)


def test_every_fallback_is_a_count_that_includes_the_unit() -> None:
    for unit in UNITS.values():
        assert unit.fallback is None or unit.fallback.unit in unit.within


def test_what_is_in_both_has_a_unit_of_its_own() -> None:
    assert join_of("cache_read_input_tokens", "input_audio_tokens") == "cache_read_audio_tokens"
    assert join_of("input_image_tokens", "cache_read_input_tokens") == "cache_read_image_tokens"
    assert join_of("input_tokens", "cache_read_input_tokens") is None
    assert join_of("input_tokens", "output_tokens") is None


def test_a_qualified_unit_is_inside_each_less_qualified_one() -> None:
    unit = unit_of("output_images:1024x1024:high")
    assert unit is not None
    assert unit.within == {"output_images", "output_images:1024x1024"}
    assert unit.fallback is not None
    assert unit.fallback.unit == "output_images:1024x1024"
    assert within("output_video_seconds:1080p", "output_video_seconds")
    assert (depth("output_images:a:b"), depth("output_images"), depth("nonsense")) == (2, 0, 0)


def test_a_name_with_more_or_empty_qualifiers_is_no_unit() -> None:
    for name in (
        "output_images:a:b:c",
        "output_images:",
        "output_images::hd",
        "input_tokens:a",
        "x:y",
        "x" * 999,
    ):
        assert unit_of(name) is None


def test_nothing_unknown_ever_falls_back_silently() -> None:
    silent = {name for name, unit in UNITS.items() if unit.fallback and not unit.fallback.told}
    assert silent == {
        "reasoning_output_tokens",
        "cache_write_5m_input_tokens",
        "input_audio_seconds",
        "output_audio_seconds",
    }
    assert {name for name, unit in UNITS.items() if unit.optional} == {"requests"}
