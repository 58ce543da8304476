"""Instructions per call of the pure hot functions: a guard that neither noise nor missing nginx can disturb.

Counted by valgrind's callgrind, in one run, only around the calls themselves (probe.c). Counts depend on the
interpreter, so bars.json keeps one set for each Python release, processor family and kind of build; without a
set for this one the counts are printed and nothing is judged. `benchmarks/guard --record` writes the set of
this machine.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bar import BARS
from benchmarks.programs import CannotBuild, build
from benchmarks.stage import ROOT, clean_environment

PATIENCE_S = 180
LABEL = re.compile(r"^desc: Trigger: Client Request: (?P<name>.+)/(?P<calls>\d+)$", re.MULTILINE)
TOTAL = re.compile(r"^(?:totals|summary): (?P<count>\d+)", re.MULTILINE)


class CannotCount(Exception):
    """Instructions cannot be counted here; the sentence says why."""


class HotPathBroken(Exception):
    """The hot functions did not run: that is a fault of the code, not of the machine."""


@dataclass(frozen=True, slots=True)
class CountVerdict:
    """One step's instructions per call beside those recorded; `bar` is None where none were."""

    step: str
    counted: int
    bar: int | None
    tolerance: float

    @property
    def held(self) -> bool:
        return self.bar is None or self.counted <= self.bar * (1 + self.tolerance)

    def text(self) -> str:
        """One line for people."""
        if self.bar is None:
            return f"     {self.step}: {self.counted:,} instructions, nothing recorded to hold it against"
        state = "ok  " if self.held else "FAIL"
        change = self.counted / self.bar - 1
        return (
            f"{state} {self.step}: {self.counted:,} instructions, {change:+.1%} of the recorded {self.bar:,} "
            f"(bar +{self.tolerance:.0%})"
        )


def signature() -> str:
    """What counts are comparable with: such as "cpython-3.11-x86_64-pgo".

    Within one release, builds without --enable-optimizations differ by 5 to 17 % (measured: pyenv's and
    Debian's 3.11); record the larger counts.
    """
    major, minor, *_ = platform.python_version_tuple()
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    kind = "pgo" if "--enable-optimizations" in arguments else "plain"
    return f"{sys.implementation.name}-{major}.{minor}-{platform.machine()}-{kind}"


def read_dumps(folder: Path) -> dict[str, int]:
    """Instructions per call by step, from the dumps of one callgrind run."""
    counts: dict[str, int] = {}
    for dump in sorted(folder.glob("callgrind.*")):
        text = dump.read_text(errors="replace")
        label, total = LABEL.search(text), TOTAL.search(text)
        if label and total:
            counts[label["name"]] = int(total["count"]) // int(label["calls"])
    return counts


def count(python: str = sys.executable) -> dict[str, int]:
    """Run the hot functions under callgrind.

    CannotCount when valgrind or a compiler is missing, HotPathBroken when the functions themselves fail.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise CannotCount("valgrind is not installed")
    try:
        probe = build("probe", library=True)
    except CannotBuild as error:
        raise CannotCount(f"the probe cannot be built: {error}") from None
    with tempfile.TemporaryDirectory(prefix="tollbench-") as folder:
        command = [
            *(valgrind, "--tool=callgrind", "--instr-atstart=no", "--quiet"),
            f"--callgrind-out-file={folder}/callgrind.out",
            *(python, "-m", "benchmarks.hotpath", str(probe)),
        ]
        environment = {**clean_environment(), "PYTHONHASHSEED": "0"}
        try:
            outcome = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise HotPathBroken(f"callgrind did not end within {PATIENCE_S} s") from None
        counts = read_dumps(Path(folder))
    if outcome.returncode != 0 or not counts:
        raise HotPathBroken(f"callgrind ended with {outcome.returncode}: {outcome.stderr.strip()[-1500:]}")
    return counts


def judge_counts(counts: Mapping[str, int], bars: Mapping[str, int], tolerance: float) -> list[CountVerdict]:
    """Hold each step against what was recorded for it. Pure."""
    return [CountVerdict(step, counted, bars.get(step), tolerance) for step, counted in counts.items()]


def recorded() -> tuple[dict[str, int], float]:
    """The counts recorded for this interpreter (empty where there are none), and the tolerance."""
    document = json.loads(BARS.read_text(encoding="utf-8"))["instructions"]
    return document["counts"].get(signature(), {}), document["tolerance"]


def record(counts: Mapping[str, int]) -> None:
    """Write the counts of this interpreter into bars.json."""
    document = json.loads(BARS.read_text(encoding="utf-8"))
    document["instructions"]["counts"][signature()] = dict(counts)
    document["instructions"]["counts"] = dict(sorted(document["instructions"]["counts"].items()))
    rows = ",\n    ".join(json.dumps(row) for row in document["ratios"])
    instructions = json.dumps(document["instructions"], indent=2).replace("\n", "\n  ")
    text = f'{{\n  "ratios": [\n    {rows}\n  ],\n  "instructions": {instructions}\n}}\n'
    BARS.write_text(text, encoding="utf-8")
