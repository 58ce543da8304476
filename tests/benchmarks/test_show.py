from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.figures import Sample
from benchmarks.lane import LANES
from benchmarks.once import Reading
from benchmarks.report import BEGIN, END, Findings, placed, write_markdown
from benchmarks.setup import USUAL
from benchmarks.show import Judged, Row, judge_rows, load_rows, table_of
from tests.benchmarks.conftest import MakeSample


def judged(row: Row, *samples: Sample, readings: tuple[Reading, ...] = ()) -> Judged:
    (verdict,) = judge_rows([row], samples, readings)
    return verdict


def later(sample: Sample, **quantiles: float) -> Sample:
    return replace(sample, latency_us={**sample.latency_us, **quantiles})


def test_every_row_of_the_file_names_what_there_is() -> None:
    rows = load_rows()
    assert {name for row in rows for name in row.lanes} <= set(LANES)
    own = {setup.name for lane in LANES.values() for setup in lane.gateways}
    for row in rows:
        assert (row.kind == "reading") == bool(row.unit)
        lane = LANES.get(row.lane)
        assert row.subject in own | {"litellm", "portkey"}
        if lane is not None and row.subject in own:
            assert row.subject in {setup.name for setup in lane.gateways}
        if row.subject in ("litellm", "portkey"):
            assert lane is not None
            assert lane.peers
        assert row.than != "direct" or (lane is not None and lane.direct)
    assert LANES["nonstream-16"].gateways == (USUAL,)


def test_nothing_measured_is_neither_held_nor_missed() -> None:
    for verdict in judge_rows(load_rows(), [], []):
        assert (verdict.held, verdict.state, verdict.figure) == (None, "not measured", "-")


def test_a_ratio_is_of_pairs_and_is_told_as_microseconds_of_the_usual_machine(
    make_sample: MakeSample,
) -> None:
    samples = [make_sample("nginx", n, nginx=27.0) for n in range(3)]
    samples += [make_sample("gateway", n, gateway=us, redis=60.0) for n, us in enumerate((270, 400, 9_000))]
    row = Row("x", "ratio", "nonstream-64", at_most=15)
    verdict = judged(row, *samples)
    assert verdict.measured is not None
    assert verdict.measured.median == pytest.approx(400 / 27)
    assert verdict.held
    assert verdict.note == "400.0 us and 27.0 us here; 200 us where nginx takes 13.5"
    assert not judged(replace(row, group="sum"), *samples).held


def test_a_peer_is_compared_with_one_process_of_ours_or_with_all(make_sample: MakeSample) -> None:
    samples = [
        make_sample("litellm", 0, litellm=9_000.0),
        make_sample("gateway", 0, gateway=180.0, redis=120.0),
    ]
    row = Row("x", "ratio", "nonstream-64", "litellm", "sum", "gateway", "gateway", at_least=45)
    one, all_of_them = judged(row, *samples), judged(replace(row, than_group="sum"), *samples)
    assert (one.held, all_of_them.held) == (True, False)
    assert all_of_them.figure == "30.00 [30.00-30.00]x"


def test_chunks_per_core_are_the_inverse_of_cost(make_sample: MakeSample) -> None:
    samples = [make_sample("nginx", 0, nginx=4.0), make_sample("gateway", 0, gateway=5.0)]
    verdict = judged(Row("x", "inverse", "nonstream-64", at_least=0.9), *samples)
    assert verdict.measured is not None
    assert verdict.measured.median == pytest.approx(0.8)
    assert not verdict.held


def test_added_latency_is_of_the_same_round_and_beside_it_stands_nginx(make_sample: MakeSample) -> None:
    samples = [
        *(later(make_sample("direct", n), p50=us) for n, us in enumerate((100.0, 5_000.0))),
        *(later(make_sample("nginx", n, nginx=1.0), p50=us) for n, us in enumerate((300.0, 5_200.0))),
        *(later(make_sample("gateway", n, gateway=1.0), p50=us) for n, us in enumerate((1_100.0, 6_000.0))),
    ]
    row = Row(
        "x", "later", "nonstream-64", than="direct", quantity="latency_us", quantile="p50", beside="nginx",
        at_most=1.5,
    )  # fmt: skip
    verdict = judged(row, *samples)
    assert verdict.figure == "1.00 [1.00-1.00] ms"
    assert verdict.note == "nginx: 0.20 [0.20-0.20] ms"
    assert verdict.held


def test_what_a_longer_body_costs_is_judged_as_where_nginx_takes_its_usual_time(
    make_sample: MakeSample,
) -> None:
    samples = [
        make_sample("nginx", 0, "nonstream-16", nginx=27.0),
        make_sample("gateway", 0, "nonstream-16", gateway=300.0),
        make_sample("gateway", 0, "body-200kb", gateway=1_400.0),
    ]
    row = Row("x", "dearer", "body-200kb", than_lane="nonstream-16", at_most=600)
    verdict = judged(row, *samples)
    assert verdict.figure == "550.0 [550.0-550.0] us"
    assert verdict.note == "1,100.0 [1,100.0-1,100.0] us here"
    assert verdict.held
    assert judged(row, *samples[1:]).held is None  # without nginx nobody knows what it would be there


def test_a_reading_that_follows_the_machine_is_told_for_the_usual_one_too(make_sample: MakeSample) -> None:
    nginx = make_sample("nginx", 0, nginx=27.0)
    rate = Reading("rate", "outbox drained", "events/s", (6_000.0,))
    verdict = judged(Row("x", "reading", reading="rate", at_least=10_000), nginx, readings=(rate,))
    assert (verdict.held, verdict.note) == (False, "about 12,000 events/s where nginx takes 13.5 us")
    size = Reading("rss", "resident", "MB", (70.0,))
    resident = judged(Row("x", "reading", reading="rss", unit="MB", at_most=90), nginx, readings=(size,))
    assert (resident.note, resident.row.bar, resident.figure) == ("", "<= 90 MB", "70.00 [70.00-70.00] MB")


def test_a_reading_is_judged_by_its_median() -> None:
    row = Row("x", "reading", reading="start", at_most=1.5)
    slow = Reading("start", "start to ready", "s", (1.4, 1.6, 9.0))
    assert not judged(row, readings=(slow,)).held
    assert judged(row, readings=(replace(slow, values=(1.4, 1.5, 9.0)),)).held


@pytest.mark.parametrize("bounds", [{}, {"at_most": 1.0, "at_least": 1.0}])
def test_a_row_bounds_one_side_exactly(bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="either at_most or at_least"):
        Row("x", "ratio", "nonstream-64", **bounds)


def test_a_row_of_an_unknown_kind_is_told() -> None:
    with pytest.raises(ValueError, match="no kind is called cheaper"):
        Row("x", "cheaper", "nonstream-64", at_most=1)


def test_the_table_has_a_line_for_each_row() -> None:
    lines = table_of(judge_rows(load_rows(), [], []))
    assert len(lines) == len(load_rows()) + 2
    assert len({line.count("|") for line in lines}) == 1


def test_a_page_keeps_what_people_wrote_around_the_marks(tmp_path: Path, make_sample: MakeSample) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Ours\n\n{BEGIN}\nold\n{END}\n\nprofile\n")
    about = {"date": "d", "cpu": "c", "cores": 2, "kernel": "k", "python": "p", "nginx": "n", "versions": {}}
    findings = Findings(about, rounds=3, samples=[make_sample("nginx", 0, nginx=10.0)])
    findings.left_out = {"nonstream-64": {"portkey": "it slept"}}
    for _ in range(2):
        write_markdown(page, findings)
    text = page.read_text()
    assert text.startswith("# Ours\n")
    assert text.endswith("profile\n")
    assert "old" not in text
    assert text.count("**nonstream-64**") == 1
    assert "- portkey is left out: it slept" in text


def test_a_file_without_marks_is_the_text_alone() -> None:
    assert placed("anything", "text") == "text"
    assert placed("", "text") == "text"
