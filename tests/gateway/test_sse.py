from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import sse

ENDINGS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXT = st.text(alphabet=st.sampled_from('aé漢🎉 :{}"'), max_size=8)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A whole stream of events in one line-end style each, closed by an empty line."""
    parts = []
    for _ in range(draw(st.integers(0, 6))):
        end = draw(ENDINGS)
        lines = draw(st.lists(TEXT.map(lambda text: b"data: " + text.encode()), min_size=1, max_size=3))
        parts.append(end.join(lines) + end + end)
    return b"".join(parts)


def test_an_event_ends_at_an_empty_line_whatever_ends_a_line() -> None:
    for end in (b"\n", b"\r\n", b"\r"):
        stream = b"data: a" + end + end + b"data: b" + end + end
        assert [sse.event_data(event) for event in sse.events(stream)] == [b"a", b"b"]


def test_an_incomplete_event_is_not_counted_as_ended() -> None:
    assert sse.last_boundary(b"data: a\n\ndata: b\n") == len(b"data: a\n\n")
    assert sse.last_boundary(b"data: a") == 0
    assert sse.last_boundary(b"data: a\r\n\r\ndata: b\r\n") == len(b"data: a\r\n\r\n")


def test_a_cr_at_the_very_end_waits_for_its_lf() -> None:
    assert sse.last_boundary(b"data: a\r\n\r") == 0
    assert sse.last_boundary(b"data: a\n\ndata: b\r\r") == len(b"data: a\n\n")


def test_data_lines_are_joined_and_other_fields_left_out() -> None:
    assert sse.event_data(b"event: x\ndata: one\nid: 3\ndata:two\n\n") == b"one\ntwo"
    assert sse.event_data(b": a comment\n\n") is None
    assert sse.event_data(sse.BOM + b"data: first\n\n") == b"first"


@given(streams(), st.data())
def test_any_split_of_a_stream_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    whole = list(sse.events(stream))
    rest, seen = b"", b""
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        rest += stream[start:stop]
        cut = sse.last_boundary(rest)
        seen, rest = seen + rest[:cut], rest[cut:]
    assert list(sse.events(seen + rest)) == whole
