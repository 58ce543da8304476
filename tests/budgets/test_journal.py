"""The journal: what is appended is found again, whatever was going on when its owner was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgets.hold import Settled
from budgets.journal import Journal, JournalUnavailable, outstanding, records
from budgets.ledger import Lease
from budgets.limit import Attribution, Limit
from budgets.rowset import build_row_set

LIMITS = (
    Limit("lim_a", "key", "key_1", "month", "money", "hard", 1_000),
    Limit("lim_b", "customer", "*", "day", "requests", "hard", 10),
)
ROWS = build_row_set(LIMITS, Attribution("default", "key_1", "acme"), 1_795_260_000_000)


def lease(request_id: str, *, covered: bool = True) -> Lease:
    return Lease(
        request_id, "default", ROWS, {"m": 500, "r": 1}, 1_795_260_000_001, b'{"id":"x"}', covered=covered
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    taken = Journal.take(tmp_path / "journal" / "slot-0.journal")
    assert taken is not None
    return taken


def test_a_close_is_kept_with_all_that_the_ledger_needs_to_be_told(journal: Journal) -> None:
    settled = Settled(120, 30, 5, 7, doubted_output_tokens=2)
    journal.closed(lease("r1"), settled, status="succeeded", event=b'{"id":"r1","note":"\xc3\xa9"}')
    (kept,) = journal.kept()
    assert kept.close is not None
    assert (kept.close.settled, kept.close.status) == (settled, "succeeded")
    assert kept.close.event == b'{"id":"r1","note":"\xc3\xa9"}'
    found = kept.lease
    assert (found.request_id, found.held, found.at_ms, found.covered) == (
        "r1",
        {"m": 500, "r": 1},
        1_795_260_000_001,
        True,
    )
    assert (found.rows.shape, found.rows.hashes, found.rows.fields, found.rows.ids, found.rows.meters) == (
        ROWS.shape,
        ROWS.hashes,
        ROWS.fields,
        ROWS.ids,
        ROWS.meters,
    )
    assert found.payload == b'{"id":"x"}'


def test_what_is_no_text_is_kept_as_well(journal: Journal) -> None:
    journal.closed(lease("r1"), Settled(1), status="cut", event=b"\xff\xfe\n")
    (kept,) = journal.kept()
    assert kept.close is not None
    assert kept.close.event == b"\xff\xfe\n"


def test_an_open_without_a_close_is_kept_as_running(journal: Journal) -> None:
    journal.opened(lease("r1", covered=False), "key_1")
    (kept,) = journal.kept()
    assert kept.close is None
    assert not kept.lease.covered


def test_a_close_takes_the_place_of_its_open_and_done_ends_both(journal: Journal) -> None:
    journal.opened(lease("r1", covered=False), "key_1")
    journal.opened(lease("r2", covered=False), "key_1")
    journal.closed(lease("r1", covered=False), Settled(9), status="succeeded", event=b"{}")
    assert [(kept.lease.request_id, kept.close is None) for kept in journal.kept()] == [
        ("r1", False),
        ("r2", True),
    ]
    journal.done("r1")
    assert [kept.lease.request_id for kept in journal.kept()] == ["r2"]


def test_the_file_is_empty_when_nothing_waits(journal: Journal) -> None:
    for number in range(3):
        journal.opened(lease(f"r{number}"), "key_1")
    for number in range(3):
        assert journal.path.stat().st_size > 0
        journal.done(f"r{number}")
    assert journal.path.stat().st_size == 0
    journal.opened(lease("r9"), "key_1")
    assert [kept.lease.request_id for kept in journal.kept()] == ["r9"]


def test_done_of_a_request_that_was_never_noted_changes_nothing(journal: Journal) -> None:
    journal.opened(lease("r1"), "key_1")
    journal.done("r2")
    assert [kept.lease.request_id for kept in journal.kept()] == ["r1"]


def test_only_one_process_has_the_file_and_the_next_finds_what_it_left(journal: Journal) -> None:
    journal.opened(lease("r1"), "key_1")
    code = (
        "import sys; from pathlib import Path; from budgets.journal import Journal;"
        "taken = Journal.take(Path(sys.argv[1]));"
        "print('none' if taken is None else [kept.lease.request_id for kept in taken.kept()])"
    )
    command = [sys.executable, "-c", code, str(journal.path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "none"
    journal.close()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "['r1']"


@settings(max_examples=200, deadline=None)
@given(cut=st.integers(0, 10_000))
def test_a_torn_tail_is_ignored_and_nothing_after_it_is_lost(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("torn") / "slot-0.journal"
    journal = Journal.take(path)
    assert journal is not None
    sizes = []
    for number in range(4):
        journal.closed(lease(f"r{number}"), Settled(number), status="succeeded", event=b"{}")
        sizes.append(path.stat().st_size)
    journal.close()
    cut %= sizes[-1] + 1
    os.truncate(path, cut)
    again = Journal.take(path)
    assert again is not None
    # A record that lacks nothing but its line end is whole: the next owner ends the line.
    whole = [f"r{number}" for number, size in enumerate(sizes) if size - 1 <= cut]
    assert [kept.lease.request_id for kept in again.kept()] == whole
    again.opened(lease("later"), "key_1")
    assert [kept.lease.request_id for kept in again.kept()] == [*whole, "later"]
    again.close()


@settings(max_examples=200, deadline=None)
@given(garbage=st.binary(max_size=200))
def test_damage_is_passed_over(garbage: bytes) -> None:
    good = b'%08x %08x {"k":"done","id":"r1"}\n' % (24, 0)
    assert list(records(good)) == []  # a wrong checksum
    assert list(outstanding(garbage)) == []


def test_a_disk_that_takes_nothing_more_is_told(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.opened(lease("r1"), "key_1")
    size = journal.path.stat().st_size
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: real(descriptor, line[:40]))
    with pytest.raises(JournalUnavailable, match="disk is full"):
        journal.opened(lease("r2"), "key_1")
    monkeypatch.undo()
    assert journal.path.stat().st_size == size
    journal.opened(lease("r3"), "key_1")
    assert [kept.lease.request_id for kept in journal.kept()] == ["r1", "r3"]
