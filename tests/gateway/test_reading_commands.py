from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from metering.event import CostEvent, decode
from metering.eventstore import EventStore
from tests.metering.events import event

NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = EventStore(tmp_path / "tollkeeper.db")
    yield store
    store.close()


@pytest.fixture
def recorded(store: EventStore) -> list[CostEvent]:
    made = [
        event(started_ms=NOW_MS - 9 * 86_400_000, customer="old"),
        event(started_ms=NOW_MS - 3_000, customer="acme", feature="chat", cost_nano=2_000_000),
        event(
            started_ms=NOW_MS - 2_000, customer="acme", feature="search", status="failed", outcome="failure"
        ),
        event(started_ms=NOW_MS - 1_000, customer="globex", feature="chat", cost_nano=None, usage=None),
    ]
    store.append(made)
    return made


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--data-dir", str(folder)])


def test_report_lists_the_dearest_first_with_an_exact_total(
    tmp_path: Path, recorded: list[CostEvent]
) -> None:
    result = run(tmp_path, "report", "--by", "customer,feature", "--since", "7d")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert [line.split()[:3] for line in lines[2:5]] == [
        ["acme", "chat", "0.00200"],
        ["acme", "search", "0.00033"],
        ["globex", "chat", "unknown"],
    ]
    assert lines[-1].split()[:2] == ["total", "0.00233"]
    assert lines[-1].endswith("1 unpriced")


def test_report_as_json_and_csv_say_the_same(tmp_path: Path, recorded: list[CostEvent]) -> None:
    whole = orjson.loads(run(tmp_path, "report", "--by", "model", "--since", "30d", "--json").stdout)
    assert [(row["model"], row["cost_nano"], row["requests"]) for row in whole["rows"]] == [
        ("gpt-4o-mini", "2660000", 4)
    ]
    lines = run(tmp_path, "report", "--by", "model", "--since", "30d", "--csv").stdout.splitlines()
    assert lines[1].startswith("gpt-4o-mini,0.00266,2660000,")


def test_report_of_a_span_without_requests_says_so(tmp_path: Path, recorded: list[CostEvent]) -> None:
    result = run(tmp_path, "report", "--since", "2020-01-01", "--until", "2020-02-01")
    assert result.stdout == "No requests from 2020-01-01T00:00:00Z to 2020-02-01T00:00:00Z.\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--by", "team"), "'team' is not something to report by"),
        (("--since", "soon"), "'soon' is not a moment"),
        (("--json", "--csv"), "--json and --csv exclude each other"),
    ],
)
def test_question_that_is_not_understood_is_told(
    tmp_path: Path, recorded: list[CostEvent], arguments: tuple[str, ...], complaint: str
) -> None:
    result = run(tmp_path, "report", *arguments)
    assert (result.exit_code, complaint in result.stderr) == (2, True)


@pytest.mark.parametrize("command", [("report",), ("events", "tail")])
def test_installation_without_a_database_is_told_how_to_get_one(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    result = run(tmp_path / "nowhere", *command)
    assert result.exit_code == 1
    assert "no such database; `tollkeeper serve` creates it" in result.stderr
    assert not (tmp_path / "nowhere").exists()


def test_tail_prints_the_newest_last(tmp_path: Path, recorded: list[CostEvent]) -> None:
    lines = run(tmp_path, "events", "tail", "-n", "2").stdout.splitlines()
    assert "failed     acme / search" in lines[0]
    assert "$0.00033" in lines[0]
    assert "succeeded  globex / chat" in lines[1]
    assert "tokens unknown" in lines[1]
    assert "$0" not in lines[1]
    assert lines[1].endswith("1 attempt")


def test_tail_as_json_gives_whole_events_of_those_asked_for(
    tmp_path: Path, recorded: list[CostEvent]
) -> None:
    shown = run(tmp_path, "events", "tail", "--customer", "acme", "--json").stdout.splitlines()
    assert [decode(line) for line in shown] == recorded[1:3]
    assert run(tmp_path, "events", "tail", "--customer", "acme", "--status", "failed").stdout.count("\n") == 1
    assert run(tmp_path, "events", "tail", "-n", "0").stdout == ""


def follower(folder: Path, out: int | IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from gateway.cli import main; main()", "events", "tail", "--follow"]
    # Where this run's own interrupts are ignored (a job in the background), a child would inherit that.
    return subprocess.Popen(
        [*command, "--customer", "acme", "--data-dir", str(folder)],
        stdout=out,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_following_tail_shows_what_is_recorded_later_also_with_an_older_id(
    tmp_path: Path, store: EventStore
) -> None:
    early, first, other, second = event(), event(), event(customer="globex"), event()
    store.append([first])
    process = follower(tmp_path, subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert b"acme" in process.stdout.readline()
        store.append([early, other, second])
        assert [b"acme" in process.stdout.readline() for _ in range(2)] == [True, True]
    finally:
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert (rest, process.returncode) == (b"", 0)


def test_terminal_sees_colours_and_no_markup_of_a_customer(tmp_path: Path, store: EventStore) -> None:
    store.append([event(customer="[bold]acme[/bold]")])
    main_end, other_end = pty.openpty()
    place = ["--data-dir", str(tmp_path)]
    program = f"""
from gateway.cli import main
main(["events", "tail", *{place}], standalone_mode=False)
main(["report", "--since", "2026-01-01", *{place}], standalone_mode=False)
"""
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "200"}
    environment.pop("NO_COLOR", None)
    subprocess.run([sys.executable, "-c", program], stdout=other_end, env=environment, check=True, timeout=60)
    shown = os.read(main_end, 65_536).decode()
    os.close(main_end)
    os.close(other_end)
    assert shown.count("[bold]acme[/bold]") == 2
    assert "\x1b[32msucceeded" in shown
