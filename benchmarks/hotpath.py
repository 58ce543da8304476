"""The pure functions of one request's way, each as a step that can be run and counted by itself.

    python -m benchmarks.hotpath                     wall time per call, for people
    valgrind --tool=callgrind ... hotpath PROBE.so   instructions per call, for instructions.py

No sockets, no Redis, no clock: what is counted changes only when code or interpreter change.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Mapping

import orjson

from benchmarks.lane import LANES
from gateway.attribution import HeaderTable
from gateway.ceiling import ceiling
from gateway.dialects import SURFACES
from gateway.dialects.exchange import parse_object
from gateway.forwarding.tap import StreamTap
from gateway.settings.attribution import AttributionSettings
from metering.event import Attempt, CostEvent, encode
from metering.pricebook import PriceBook
from metering.usage import Usage
from metering.usage.openai import read_usage

Step = Callable[[], object]
CALLS = 100
WARM_CALLS = 300
"""Python 3.11 and later specialise bytecode after some runs; what is counted is the settled state."""

HEADERS = [
    (b"host", b"127.0.0.1:8787"),
    (b"authorization", b"Bearer obs_" + b"0" * 49),
    (b"accept", b"application/json"),
    (b"user-agent", b"OpenAI/Python 3.52.0"),
    (b"x-stainless-lang", b"python"),
    (b"x-stainless-retry-count", b"0"),
    (b"observe-customer", b"acme"),
    (b"observe-feature", b"ai_summarization"),
    (b"content-type", b"application/json"),
    (b"content-length", b"1024"),
]
REPORTED = {
    "prompt_tokens": 220,
    "completion_tokens": 150,
    "total_tokens": 370,
    "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
}
NOW_MS = 1_760_000_000_000
MODEL = "gpt-4o-mini"
READ_BYTES = 16 * 1024
"""What one read brings when chunks come faster than they are read."""


def chunk(content: str, finish: str | None = None) -> bytes:
    """One event of a streamed answer, about 250 bytes."""
    document = {
        "id": "chatcmpl-C9bench01",
        "object": "chat.completion.chunk",
        "created": NOW_MS // 1000,
        "model": MODEL,
        "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}],
        "usage": None,
    }
    return b"data: " + orjson.dumps(document) + b"\n\n"


def streamed_answer() -> list[bytes]:
    """200 chunks, the usage event that the gateway asked for, and the end."""
    usage = {"id": "chatcmpl-C9bench01", "model": MODEL, "choices": [], "usage": REPORTED}
    text = [chunk("the price of every answer is known before the invoice ") for _ in range(199)]
    return [*text, chunk("", "stop"), b"data: " + orjson.dumps(usage) + b"\n\n", b"data: [DONE]\n\n"]


def steps() -> Mapping[str, Step]:
    """The steps by name. Each call does the whole step once."""
    raw = LANES["nonstream-64"].body(MODEL)
    chat = SURFACES["chat.completions"]
    call = chat.call(parse_object(raw))
    forwarded = call.forwarded(MODEL, maximum=None, ask_usage=False)
    price = PriceBook.load().find("openai", MODEL, NOW_MS)
    assert price is not None, f"{MODEL} has no price"
    pieces = streamed_answer()
    table = HeaderTable(AttributionSettings())
    usage = read_usage(REPORTED)
    assert isinstance(usage, Usage)
    cost = price.cost_of(usage)
    event = example_event(usage, cost.nano)

    whole = b"".join(pieces)
    reads = [whole[start : start + READ_BYTES] for start in range(0, len(whole), READ_BYTES)]

    def stream(reads: list[bytes]) -> Usage | None:
        tap = StreamTap(chat, strip_usage=True)
        for read in reads:
            tap.feed(read)
        return tap.reading.usage

    return {
        "headers": lambda: table.read(HEADERS),
        "body": lambda: chat.call(parse_object(raw)),
        "forward": lambda: call.forwarded(MODEL, maximum=None, ask_usage=True),
        "ceiling": lambda: ceiling(call, forwarded, price),
        "price": lambda: price.cost_of(read_usage(REPORTED) or usage),
        "event": lambda: encode(event),
        "stream of 200, paced": lambda: stream(pieces),
        "stream of 200, coalesced": lambda: stream(reads),
    }


def example_event(usage: Usage, cost_nano: int | None) -> CostEvent:
    """A closed event of the usual size."""
    attempt = Attempt(
        provider="openai", model=MODEL, status="succeeded", http_status=200, usage=usage.document(),
        usage_source="provider", cost_nano=cost_nano, cost_status="priced", price_entries=["openai/mini"],
        started_ms=NOW_MS, first_byte_ms=NOW_MS + 300, ended_ms=NOW_MS + 900, upstream_request_id="req_bench",
    )  # fmt: skip
    return CostEvent(
        id="0199c4a2-7a6b-7000-8000-000000000001", key_id="key_1", customer="acme",
        feature="ai_summarization", surface="chat.completions", route=MODEL, route_final=MODEL,
        provider_requested="openai", provider="openai", model_requested=MODEL,
        model=MODEL, outcome="success", http_status=200, usage=usage.document(),
        usage_source="provider", cost_nano=cost_nano, cost_status="priced", started_ms=NOW_MS,
        ended_ms=NOW_MS + 900, held_nano=10_000_000, attempts=[attempt],
    )  # fmt: skip


def count_under_valgrind(probe: ctypes.CDLL) -> None:
    """Run each step between two requests to callgrind, which writes one dump for each, named by the step."""
    for name, step in steps().items():
        for _ in range(WARM_CALLS if "stream" not in name else WARM_CALLS // 50):
            step()
        calls = CALLS if "stream" not in name else CALLS // 50
        label = f"{name}/{calls}".encode()
        probe.probe_begin()
        for _ in range(calls):
            step()
        probe.probe_end(label)


def print_times() -> None:
    """Microseconds per call, the best of five."""
    for name, step in steps().items():
        best = min(_time(step, 20 if "stream" in name else 2000) for _ in range(5))
        print(f"{name:16} {best:8.2f} us")


def _time(step: Step, calls: int) -> float:
    started = time.perf_counter_ns()
    for _ in range(calls):
        step()
    return (time.perf_counter_ns() - started) / calls / 1000


if __name__ == "__main__":
    if len(sys.argv) > 1:
        from benchmarks import wholerequest

        given = ctypes.CDLL(sys.argv[1])
        if not given.probe_running():
            raise SystemExit("hotpath: a probe was given, but this does not run under valgrind")
        count_under_valgrind(given)
        wholerequest.count_under_valgrind(given, CALLS)
    else:
        print_times()
