from __future__ import annotations

from pathlib import Path

from benchmarks.instructions import judge_counts, read_dumps

DUMP = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
pid: 1
part: {part}
desc: Timerange: Basic block 0 - 100
desc: Trigger: {trigger}
positions: line
events: Ir
summary: {count}
fn=(1) main
1 {count}
totals: {count}
"""


def test_dumps_are_read_as_instructions_per_call(tmp_path: Path) -> None:
    (tmp_path / "callgrind.out.1").write_text(
        DUMP.format(part=1, trigger="Client Request: body/100", count=1_234_567)
    )
    (tmp_path / "callgrind.out.2").write_text(
        DUMP.format(part=2, trigger="Client Request: stream of 200/2", count=5_000_001)
    )
    (tmp_path / "callgrind.out").write_text(DUMP.format(part=3, trigger="Program termination", count=9))
    assert read_dumps(tmp_path) == {"body": 12_345, "stream of 200": 2_500_000}


def test_a_step_fails_only_beyond_the_tolerance() -> None:
    bars = {"body": 1_000, "event": 1_000}
    body, event, fresh = judge_counts({"body": 1_150, "event": 1_151, "new": 7}, bars, 0.15)
    assert body.held
    assert not event.held
    assert event.text().startswith("FAIL event: 1,151 instructions, +15.1%")
    assert fresh.held
    assert "nothing recorded" in fresh.text()
