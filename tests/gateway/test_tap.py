import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import SURFACES
from gateway.forwarding.tap import CHUNK_BYTES, KEPT_EVENT_BYTES_MAX, PACK_BYTES, StreamTap

CHAT = SURFACES["chat.completions"]

USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}


def event(document: object, end: bytes = b"\n\n") -> bytes:
    return b"data: " + orjson.dumps(document) + end


def chunk(text: str, **more: object) -> dict[str, object]:
    return {"model": "m-1", "choices": [{"delta": {"content": text}, "finish_reason": None}], **more}


def stream(*, end: bytes = b"\n\n") -> tuple[bytes, bytes]:
    """(the stream as a provider sends it when usage was asked for, the same without the usage event)."""
    body = b"".join(event(chunk(text, usage=None), end) for text in ("漢字 ", "🎉", "plain"))
    last = event({"model": "m-1", "choices": [{"delta": {}, "finish_reason": "stop"}], "usage": None}, end)
    usage = event({"model": "m-1", "choices": [], "usage": USAGE, "service_tier": "flex"}, end)
    done = b"data: [DONE]" + end
    return body + last + usage + done, body + last + done


def read(tap: StreamTap, data: bytes, size: int) -> bytes:
    out = b"".join(tap.feed(data[start : start + size]) for start in range(0, len(data), size))
    out += tap.end()
    tap.conclude()
    return out


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_only_the_usage_event_that_we_asked_for_is_left_out(size: int, end: bytes) -> None:
    given_stream, expected = stream(end=end)
    tap = StreamTap(CHAT, strip_usage=True)
    assert read(tap, given_stream, size) == expected
    assert tap.reading.usage is not None
    assert (tap.reading.usage.input_tokens, tap.reading.usage.output_tokens) == (9, 4)
    assert tap.done
    assert (tap.reading.model, tap.reading.service_tier) == ("m-1", "flex")
    assert tap.text() == "漢字 🎉plain"
    assert tap.text_chunks == 3


@settings(max_examples=300)
@given(st.lists(st.integers(1, 400), max_size=30))
def test_a_client_that_asked_for_usage_gets_every_byte(sizes: list[int]) -> None:
    given_stream, _ = stream()
    tap, out, at = StreamTap(CHAT, strip_usage=False), b"", 0
    for size in sizes:
        out += tap.feed(given_stream[at : at + size])
        at += size
    out += tap.feed(given_stream[at:]) + tap.end()
    assert out == given_stream
    assert tap.reading.usage is not None
    assert tap.reading.usage.output_tokens == 4


def test_usage_beside_choices_is_read_and_never_removed() -> None:
    data = event(chunk("last", usage=USAGE)) + b"data: [DONE]\n\n"
    tap = StreamTap(CHAT, strip_usage=True)
    assert tap.feed(data) == data
    assert tap.reading.usage is not None


def test_groqs_usage_is_read_where_groq_puts_it() -> None:
    data = event({"choices": [], "x_groq": {"id": "r", "usage": USAGE}})
    tap = StreamTap(CHAT, strip_usage=True)
    assert tap.feed(data) == data
    assert tap.reading.usage is not None


def test_cumulative_usage_in_every_chunk_counts_once() -> None:
    tap = StreamTap(CHAT, strip_usage=False)
    for n in range(1, 4):
        tap.feed(event(chunk("x", usage={"prompt_tokens": 9, "completion_tokens": n})))
    assert tap.reading.usage is not None
    assert tap.reading.usage.output_tokens == 3


def test_the_word_usage_inside_the_text_means_nothing() -> None:
    tap = StreamTap(CHAT, strip_usage=True)
    data = event(chunk('{"usage": {"prompt_tokens": 1}} "error": [DONE]'))
    assert tap.feed(data) == data
    tap.conclude()
    assert tap.reading.usage is None
    assert not tap.done
    assert tap.error is None


def test_an_error_event_is_noticed() -> None:
    tap = StreamTap(CHAT, strip_usage=True)
    tap.feed(event(chunk("before")) + event({"error": {"message": "overloaded"}}) + event(chunk("x" * 9_000)))
    tap.conclude()
    assert tap.error == {"message": "overloaded"}


def test_a_stream_without_its_last_empty_line_is_still_read() -> None:
    tap = StreamTap(CHAT, strip_usage=False)
    assert tap.feed(b"data: [DONE]") == b""
    assert tap.end() == b"data: [DONE]"
    tap.conclude()
    assert tap.done


def test_long_answers_are_packed_and_keep_their_text() -> None:
    tap = StreamTap(CHAT, strip_usage=False)
    count = 4 * PACK_BYTES // 40
    for n in range(count):
        tap.feed(event(chunk(f"w{n} ")))
    assert tap.text() == "".join(f"w{n} " for n in range(count))


def test_a_packed_stream_still_tells_how_it_ended() -> None:
    tap = StreamTap(CHAT, strip_usage=False)
    for n in range(2 * PACK_BYTES // 100):
        tap.feed(event(chunk(f"w{n} ")))
    tap.feed(event({"model": "m", "choices": [{"delta": {}, "finish_reason": "length"}]}))
    tap.feed(b"data: [DONE]\n\n")
    tap.conclude()
    assert tap.done
    assert "length" in tap.reasons


def test_an_endless_event_is_passed_on_without_being_understood() -> None:
    tap = StreamTap(CHAT, strip_usage=True)
    data = b"data: " + b"x" * (CHAT.dialect.event_bytes_max + 1)
    assert tap.feed(data) == data
    assert tap.reading.usage is None


@pytest.mark.parametrize("size", [1, 50, 10_000])
def test_a_cut_for_length_is_noticed(size: int) -> None:
    data = event(chunk("a")) + event({"model": "m", "choices": [{"delta": {}, "finish_reason": "length"}]})
    tap = StreamTap(CHAT, strip_usage=True)
    assert read(tap, data, size) == data
    assert tap.reasons == {"length"}


def test_a_model_that_is_named_late_is_still_found() -> None:
    tap = StreamTap(CHAT, strip_usage=True)
    tap.feed(b": waiting\n\n" + event({"model": "", "choices": []}) + event(chunk("x")))
    assert tap.reading.model == "m-1"


def test_what_passed_is_counted_packed_or_not_kept_at_all() -> None:
    tap, passed = StreamTap(CHAT, strip_usage=False), 0
    for size in (10, PACK_BYTES // 2, PACK_BYTES, KEPT_EVENT_BYTES_MAX + 1, 100, PACK_BYTES + 1):
        for _ in range(12):
            passed += len(tap.feed(event(chunk("x" * size))))
            assert tap.likely_tokens() == passed // CHUNK_BYTES


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_the_last_usage_of_many_in_one_read_is_what_counts(end: bytes) -> None:
    surface = SURFACES["generateContent"]
    read_at_once = b"".join(
        event({"candidates": [{"content": {"parts": [{"text": "x" * 90}]}}], "usageMetadata": made}, end)
        for n in range(1, 200)
        for made in [{"promptTokenCount": 7, "candidatesTokenCount": n}]
    )
    last = event({"candidates": [{"finishReason": "STOP"}]}, end)
    tap = StreamTap(surface, strip_usage=False)
    assert tap.feed(read_at_once + last) == read_at_once + last
    tap.conclude()
    assert tap.reading.usage is not None
    assert tap.reading.usage.output_tokens == 199
    assert (tap.done, tap.reasons) == (True, {"STOP"})
