from __future__ import annotations

import pytest

from benchmarks.figures import Sample, Spread, groups, paired_ratios, summary, table
from tests.benchmarks.conftest import MakeSample


@pytest.fixture
def samples(make_sample: MakeSample) -> list[Sample]:
    return [
        make_sample("nginx", 0, nginx=10.0),
        make_sample("gateway", 0, gateway=100.0, redis=20.0, recorder=30.0),
        make_sample("gateway", 1, gateway=300.0, redis=20.0, recorder=80.0),
        make_sample("nginx", 1, nginx=20.0),
        make_sample("nginx", 2, nginx=10.0),
        make_sample("gateway", 2, gateway=110.0, redis=20.0, recorder=30.0),
    ]


def test_ratios_compare_only_what_was_measured_in_the_same_round(samples: list[Sample]) -> None:
    assert paired_ratios(samples, "nonstream-64", "gateway", "gateway", "nginx") == [10.0, 15.0, 11.0]
    assert paired_ratios(samples, "nonstream-64", "gateway", "sum", "nginx") == [15.0, 20.0, 16.0]


def test_a_round_without_its_pair_is_left_out(samples: list[Sample], make_sample: MakeSample) -> None:
    alone = [*samples, make_sample("gateway", 3, gateway=1.0, redis=1.0, recorder=1.0)]
    assert len(paired_ratios(alone, "nonstream-64", "gateway", "sum", "nginx")) == 3


def test_the_ratio_is_the_median_of_ratios_and_not_the_ratio_of_medians(samples: list[Sample]) -> None:
    figures = summary(samples)["nonstream-64"]["gateway"]
    assert figures["cpu_us"]["gateway"]["median"] == 110.0
    assert figures["ratio"]["gateway"] == {"median": 11.0, "min": 10.0, "max": 15.0}


def test_groups_of_several_processes_end_with_their_sum(samples: list[Sample]) -> None:
    assert groups([each for each in samples if each.subject == "gateway"]) == [
        "gateway",
        "redis",
        "recorder",
        "sum",
    ]
    assert groups([each for each in samples if each.subject == "nginx"]) == ["nginx"]


def test_the_yardstick_has_no_ratio_to_itself(samples: list[Sample]) -> None:
    assert summary(samples)["nonstream-64"]["nginx"]["ratio"] == {}


def test_the_table_names_every_process_once_and_shows_ratios(samples: list[Sample]) -> None:
    lines = table("nonstream-64", "request", summary(samples)["nonstream-64"])
    text = "\n".join(lines)
    assert text.count("| gateway | gateway |") == 1
    assert "11.00 [10.00-15.00]" in text
    assert "2,000" in text  # requests per second
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_a_subject_without_processes_still_has_a_row(make_sample: MakeSample) -> None:
    lines = table("nonstream-64", "request", summary([make_sample("direct", 0)])["nonstream-64"])
    assert any(line.startswith("| direct | - | - |") for line in lines)


def test_a_spread_says_median_and_extremes() -> None:
    assert Spread.of([3.0, 1.0, 2.0]).text() == "2.0 [1.0-3.0]"
