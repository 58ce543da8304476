from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.recorder.reader_slot import ReaderSlot


def test_name_outlives_the_process_that_had_it(tmp_path: Path) -> None:
    first = ReaderSlot.take(tmp_path)
    first.release()
    second = ReaderSlot.take(tmp_path)
    assert second.name == first.name
    second.release()


def test_slots_held_at_the_same_time_have_different_names(tmp_path: Path) -> None:
    held = [ReaderSlot.take(tmp_path) for _ in range(3)]
    assert len({slot.name for slot in held}) == 3
    held[1].release()
    again = ReaderSlot.take(tmp_path)
    assert again.name == held[1].name
    for slot in (held[0], held[2], again):
        slot.release()


def test_directories_of_two_machines_give_different_names(tmp_path: Path) -> None:
    slots = [ReaderSlot.take(folder) for folder in (tmp_path, Path(os.devnull))]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        slots.append(ReaderSlot.take(tmp_path / name))
    assert len({slot.name for slot in slots}) == 4
    for slot in slots:
        slot.release()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"two words\n", b"x" * 300])
def test_file_that_holds_no_name_is_given_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "recorder-0.slot").write_bytes(content)
    slot = ReaderSlot.take(tmp_path)
    slot.release()
    assert (tmp_path / "recorder-0.slot").read_text() == slot.name + "\n"
