from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.recorder.entry import Entry
from gateway.recorder.segment import MARK, SEAL_BYTES, entry_frame, read_content, seal_frame, sealed_count

STREAM = b"t2:{07}:outbox"


def entry(number: int, body: bytes = b"{}") -> Entry:
    return Entry(STREAM, b"1-%d" % number, {b"e": body})


def sealed(entries: list[Entry]) -> bytes:
    return b"".join(map(entry_frame, entries)) + seal_frame(len(entries))


_bytes = st.binary(max_size=60) | st.sampled_from([MARK, MARK * 3, entry_frame(entry(1)), b""])
_entries = st.lists(
    st.builds(Entry, _bytes, _bytes, st.dictionaries(_bytes, _bytes, max_size=3)), min_size=1, max_size=5
)


@given(_entries)
def test_what_was_written_is_read_again(entries: list[Entry]) -> None:
    content = read_content(sealed(entries))
    assert content.entries == entries
    assert (content.sealed, content.torn, content.damaged) == (True, 0, 0)


@given(_entries, st.data())
def test_segment_cut_anywhere_gives_its_whole_entries_and_names_the_rest_torn(
    entries: list[Entry], data: st.DataObject
) -> None:
    frames = [entry_frame(each) for each in entries]
    cut = data.draw(st.integers(0, sum(map(len, frames))))
    whole, end = 0, 0
    while whole < len(frames) and end + len(frames[whole]) <= cut:
        end += len(frames[whole])
        whole += 1
    content = read_content(b"".join(frames)[:cut])
    assert content.entries[:whole] == entries[:whole]
    # What looks like a frame inside the torn entry's own bytes is one of a client's making, and its
    # checksum is good: it is then an entry more, and what is before it counts as damaged.
    assert (content.entries == entries[:whole] and content.torn == cut - end) or content.damaged


def test_zeros_at_the_end_are_torn() -> None:
    """What a file system may show after a power cut."""
    content = read_content(entry_frame(entry(1)) + bytes(4_096))
    assert (len(content.entries), content.torn, content.damaged) == (1, 4_096, 0)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_changed_byte_of_a_sealed_segment_is_damage_and_hides_no_other_entry(number: int) -> None:
    entries = [entry(n, bytes(range(65, 90))) for n in range(3)]
    frame = len(entry_frame(entries[0]))
    source = sealed(entries)
    for place in range(number * frame, (number + 1) * frame):
        changed = bytearray(source)
        changed[place] ^= 0x20
        content = read_content(bytes(changed))
        assert content.entries == entries[:number] + entries[number + 1 :], place
        assert content.damaged >= frame
        assert content.torn == 0


def test_entry_missing_before_the_seal_is_damage() -> None:
    entries = [entry(n) for n in range(3)]
    content = read_content(b"".join(map(entry_frame, entries[1:])) + seal_frame(3))
    assert content.entries == entries[1:]
    assert content.damaged > 0


@given(_entries)
def test_seal_alone_tells_the_number_of_entries(entries: list[Entry]) -> None:
    source = sealed(entries)
    assert sealed_count(source[-SEAL_BYTES:]) == len(entries)
    assert sealed_count(source[:-1][-SEAL_BYTES:]) is None
    assert sealed_count(b"") is None
