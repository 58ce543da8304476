from __future__ import annotations

import pytest

from benchmarks.bar import Bar, judge, load_bars
from benchmarks.lane import LANES
from tests.benchmarks.conftest import MakeSample


def test_every_bar_of_the_file_names_a_lane_that_exists() -> None:
    bars = load_bars()
    assert bars
    assert {bar.lane for bar in bars} <= set(LANES)


def test_a_bar_holds_by_the_median_of_its_rounds(make_sample: MakeSample) -> None:
    samples = [make_sample("nginx", n, nginx=10.0) for n in range(3)]
    samples += [make_sample("gateway", n, gateway=cost) for n, cost in enumerate((190.0, 200.0, 900.0))]
    verdict = judge(Bar("nonstream-64", "gateway", at_most=20), samples)
    assert verdict.held
    assert verdict.rounds == 3
    assert verdict.text().startswith("ok")


def test_a_dearer_request_fails_the_bar_and_says_so(make_sample: MakeSample) -> None:
    samples = [make_sample("nginx", 0, nginx=10.0), make_sample("gateway", 0, gateway=201.0)]
    verdict = judge(Bar("nonstream-64", "gateway", at_most=20), samples)
    assert not verdict.held
    assert verdict.text().startswith("FAIL nonstream-64: gateway CPU 20.10")


def test_a_bar_of_throughput_is_the_inverse_of_cost(make_sample: MakeSample) -> None:
    samples = [
        make_sample("nginx", 0, "unpaced-32", nginx=3.0),
        make_sample("gateway", 0, "unpaced-32", gateway=4.0),
    ]
    assert judge(Bar("unpaced-32", "gateway", at_least=0.7), samples).measured.median == pytest.approx(0.75)
    assert judge(Bar("unpaced-32", "gateway", at_least=0.7), samples).held
    assert not judge(Bar("unpaced-32", "gateway", at_least=0.8), samples).held


def test_without_a_pair_there_is_no_verdict(make_sample: MakeSample) -> None:
    with pytest.raises(ValueError, match="no paired rounds"):
        judge(Bar("nonstream-64", "gateway", at_most=20), [make_sample("gateway", 0, gateway=1.0)])


@pytest.mark.parametrize("bounds", [{}, {"at_most": 1.0, "at_least": 1.0}])
def test_a_bar_bounds_one_side_exactly(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either at_most or at_least"):
        Bar("nonstream-64", "gateway", **bounds)


def test_a_loosened_bar_is_easier_in_its_own_direction() -> None:
    assert Bar("a", "sum", at_most=20).loosened(2).at_most == 40
    assert Bar("a", "sum", at_least=0.6).loosened(2).at_least == 0.3
