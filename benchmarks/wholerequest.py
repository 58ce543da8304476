"""A whole request in one process: a worker's real parts between three sockets that are not there.

    python -m benchmarks.wholerequest            CPU microseconds per request, the best of many short rounds
    python -m benchmarks.wholerequest --profile  where they go, by file and by function

The client's bytes go into the front door; what the ledger and the provider answer are bytes as well. Counted
is all that lies between: not the kernel, not uvloop, not Redis. So two versions of the gateway can be
compared on a machine that does other things too, and `instructions.py` counts a request without any noise.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import ctypes
import gc
import pstats
import time
from collections import Counter
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from accounts.key import KeyLimit, KeyRecord, document_name, mint
from accounts.terms import AccountTerms
from benchmarks.farend import MODEL, LedgerServer, Provider, Socket, streamed_answers, whole_answer
from benchmarks.lane import LANES
from benchmarks.stage import CLIENT_HEADERS
from budgets.names import names_of
from gateway.app import build_gateway
from gateway.frontdoor.doorkeeper import Doorkeeper
from gateway.frontdoor.limits import DoorLimits
from gateway.frontdoor.protocol import FrontDoor
from gateway.settings import Settings, settings_from_document

WHOLE, STREAM = "request", "streamed request of 200 chunks"
ACCOUNT = "default"


class Worker:
    """The worker's parts as `app.py` builds them, one client connection, and what it sends."""

    def __init__(self, *, streamed: bool) -> None:
        secret, digest = mint()
        settings = _settings()
        account = f"{names_of(ACCOUNT).account}{ACCOUNT}"
        ledger = LedgerServer(
            {
                document_name(digest).encode(): _key().to_document(),
                account.encode(): AccountTerms(1, (), False).to_document(),
            }
        )
        self.gateway = build_gateway(settings, cast(Any, ledger), owner="bench")
        (endpoint,) = self.gateway.parts.upstreams["bench"].endpoints
        # The pool is the product's own; only its way to the provider is another.
        cast(Any, endpoint.transport)._dialer = Provider(streamed_answers() if streamed else whole_answer())
        keeper = Doorkeeper(DoorLimits.of(settings.server))
        config = uvicorn.Config(
            cast(Any, self.gateway),
            http=keeper.protocol,
            lifespan="off",
            log_config=None,
            proxy_headers=False,
        )
        config.load()
        state = ServerState()
        self._door: FrontDoor = keeper.protocol(config=config, server_state=state, app_state={})
        self._loop = asyncio.get_running_loop()
        self._end = b"0\r\n\r\n" if streamed else b"}"
        self.answered = asyncio.Event()
        self.took: list[bytes] = []
        self._door.connection_made(Socket(self._took))
        lane = LANES["unpaced-32" if streamed else "nonstream-64"]
        body = lane.body(MODEL)
        headers = [
            *CLIENT_HEADERS,
            ("Host", "127.0.0.1:8787"),
            ("Authorization", f"Bearer {secret}"),
            ("Observe-Customer", "acme"),
            ("Observe-Feature", "ai_summarization"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
        ]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._request = f"POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n".encode() + body

    async def serve(self, requests: int) -> None:
        """So many requests, one after another."""
        for _ in range(requests):
            self.answered.clear()
            self.took.clear()
            self._door.data_received(self._request)
            await self.answered.wait()

    def _took(self, data: bytes) -> None:
        self.took.append(data)
        if data.endswith(self._end):
            self.answered.set()


async def microseconds(name: str, rounds: int, requests: int) -> float:
    """CPU per request: the best round, because noise only adds."""
    worker = Worker(streamed=name == STREAM)
    await worker.serve(1)
    _check(worker)
    await worker.serve(requests)
    gc.collect()
    gc.freeze()
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time_ns()
        await worker.serve(requests)
        best = min(best, (time.process_time_ns() - started) / requests / 1_000)
    return best


def count_under_valgrind(probe: ctypes.CDLL, requests: int) -> None:
    """Both kinds of request, as `hotpath` counts its steps."""
    asyncio.run(_count(WHOLE, probe, requests))
    asyncio.run(_count(STREAM, probe, requests // 20))


async def _count(name: str, probe: ctypes.CDLL, requests: int) -> None:
    """Let callgrind count so many requests, after enough of them for Python to have specialised its code."""
    worker = Worker(streamed=name == STREAM)
    await worker.serve(1)
    _check(worker)
    await worker.serve(requests * 3)
    gc.collect()
    gc.disable()
    probe.probe_begin()
    await worker.serve(requests)
    probe.probe_end(f"{name}/{requests}".encode())
    gc.enable()


async def profile(name: str, requests: int, lines: int) -> None:
    """Calls and microseconds by file and by function; a profiler doubles them, so compare only shares."""
    worker = Worker(streamed=name == STREAM)
    await worker.serve(1)
    _check(worker)
    await worker.serve(300)
    profiler = cProfile.Profile()
    profiler.enable()
    await worker.serve(requests)
    profiler.disable()
    stats: dict[Any, Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for (file, line, function), (_, count, own, _, callers) in stats.items():
        if file[0] in "~<":  # C and generated code: to those who call it
            for (file_, line_, function_), told in callers.items():
                for place in (file_, f"{file_}:{line_} {function_}"):
                    spent[place] += told[2]
                    calls[place] += told[1]
        else:
            for place in (file, f"{file}:{line} {function}"):
                spent[place] += own
                calls[place] += count
    files = {place: own for place, own in spent.items() if place.endswith(".py")}
    total, called = sum(files.values()), sum(calls[each] for each in files)
    print(f"{total / requests * 1e6:.0f} us, {called / requests:.0f} calls")
    for wanted in (True, False):
        shown = [each for each in spent.most_common() if each[0].endswith(".py") is wanted][:lines]
        for place, own in shown:
            print(f"{own / requests * 1e6:8.1f} us {calls[place] / requests:7.1f} calls  {place}")


def _check(worker: Worker) -> None:
    if not worker.took[0].startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"wholerequest: the answer is not what it should be: {worker.took[0][:400]!r}")


def _settings() -> Settings:
    price = {"input_tokens": "2.5", "cache_read_input_tokens": "1.25", "output_tokens": "10"}
    return settings_from_document(
        {
            "providers": {"bench": {"base_url": "http://127.0.0.1:9/v1", "api_key": "sk-bench"}},
            "prices": [
                {
                    "provider": "bench",
                    "model": MODEL,
                    "usd_per_million": price,
                    "context_window": 128_000,
                    "max_output_tokens": 16_384,
                    "source": "benchmarks",
                }
            ],
        }
    )


def _key() -> KeyRecord:
    limits = tuple(
        KeyLimit(f"lim_{window}", "key", "key_bench", window, "money", "hard", 10**15)
        for window in ("day", "month", "lifetime")
    )
    return KeyRecord(
        id="key_bench",
        account_id=ACCOUNT,
        name="bench",
        version=1,
        status="active",
        expires_ms=None,
        scopes=("proxy.chat",),
        customer=None,
        feature=None,
        assertion="any",
        customers=(),
        features=(),
        default_customer=None,
        default_feature=None,
        limits=limits,
        on_ledger_down="closed",
        display="0000",
    )


def main() -> None:
    """See the module's first lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--lines", type=int, default=45)
    parser.add_argument("--only", choices=(WHOLE, STREAM))
    chosen = parser.parse_args()
    for name in (WHOLE, STREAM) if chosen.only is None else (chosen.only,):
        requests = 200 if name == WHOLE else 5
        if chosen.profile:
            asyncio.run(profile(name, requests * 5, chosen.lines))
        else:
            print(f"{name}: {asyncio.run(microseconds(name, chosen.rounds, requests)):.1f} us")


if __name__ == "__main__":
    main()
