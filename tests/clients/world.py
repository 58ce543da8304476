"""Gateways in every state in which they refuse, each behind a wire that counts, and the rows to try there."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2

from accounts.key import mint
from accounts.policy import Policy
from accounts.terms import NewLimit
from gateway.settings import LedgerSettings, ServerSettings, Settings, TimeoutSettings
from simulator.process import Simulator
from tests.clients.wire import Wire, wire_to
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack, running_valkey, wait_until

MODEL = "gpt-4o-mini"
DOLLAR = 10**9
BODY_BYTES_MAX = 65_536
DAY_MS = 86_400_000
RATE = 1
"""Requests a minute: too long to wait for the next one here."""
LEASE_MS, HEARTBEAT_MS = 8_000, 500
"""Short, because what others hold is told to be back when the oldest lease may have ended."""


def chat(directive: str = "", **fields: Any) -> dict[str, Any]:
    """A chat request."""
    text = f"Hello. [[simulate: {directive}]]" if directive else "Hello."
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


@dataclass(frozen=True, slots=True)
class Row:
    """One case of the error table: what is asked, and what both SDKs must make of it.

    `error`: the class's name in Python and in Node. `tries`: requests on the wire, of a client that repeats
    `retries` times where it may.
    """

    name: str
    error: tuple[str, str]
    status: int | None
    code: str | None
    body: Mapping[str, Any] = field(default_factory=chat)
    headers: Mapping[str, str] = field(default_factory=dict)
    retries: int = 2
    tries: int = 1
    method: str = "chat.completions"


def same(name: str) -> tuple[str, str]:
    """An error class of the same name in both SDKs."""
    return name, name


PLAIN = ("APIStatusError", "APIError")
"""What SDKs raise for a status that has no class of its own."""

SHORT = chat("tokens=1", max_tokens=1)
LONG = chat("tokens=400 pace_ms=1000", stream=True, max_tokens=400)

ROWS = (
    Row("malformed key", same("AuthenticationError"), 401, "invalid_api_key"),
    Row("unknown key", same("AuthenticationError"), 401, "invalid_api_key"),
    Row("revoked key", same("AuthenticationError"), 401, "invalid_api_key"),
    Row("expired key", same("AuthenticationError"), 401, "invalid_api_key"),
    Row("two keys", same("AuthenticationError"), 401, "conflicting_credentials",
        headers={"x-api-key": "obs_another"}),
    Row("no scope", same("PermissionDeniedError"), 403, "insufficient_scope"),
    Row("another's customer", same("PermissionDeniedError"), 403, "customer_not_allowed",
        headers={"Observe-Customer": "somebody"}),
    Row("not entitled", same("PermissionDeniedError"), 403, "entitlement_denied",
        headers={"Observe-Customer": "unknown"}),
    Row("request running", same("ConflictError"), 409, "request_in_progress", body=LONG,
        headers={"Idempotency-Key": "running"}, tries=3),
    Row("request finished", same("ConflictError"), 409, "request_finished", body=SHORT,
        headers={"Idempotency-Key": "finished"}),
    Row("another body", same("UnprocessableEntityError"), 422, "idempotency_mismatch",
        headers={"Idempotency-Key": "finished"}),
    Row("budget spent", PLAIN, 402, "budget_exceeded"),
    Row("budget held", same("RateLimitError"), 429, "budget_reserved", retries=1, tries=2,
        body=chat(max_tokens=400)),
    Row("too many at once", same("RateLimitError"), 429, "rate_limit_exceeded", retries=1, tries=2),
    Row("rate", same("RateLimitError"), 429, "rate_limit_exceeded", retries=0),
    Row("unknown model", same("NotFoundError"), 404, "model_not_found", body=chat(model="gpt-nonesuch")),
    Row("wrong type", same("BadRequestError"), 400, "invalid_type", body=chat(temperature=1, n="many")),
    Row("attribution conflict", same("BadRequestError"), 400, "attribution_conflict",
        headers={"Observe-Customer": "acme", "X-Customer-Id": "bolt"}),
    Row("too large", PLAIN, 413, "request_too_large", body=chat(pad="x" * BODY_BYTES_MAX)),
    Row("no price", same("BadRequestError"), 400, "model_not_priced", body=chat(model="simulated/ghost")),
    Row("no bound", same("BadRequestError"), 400, "unbounded_request",
        body=chat(tools=[{"type": "web_search"}])),
    Row("text completion of a wrong type", same("BadRequestError"), 400, "invalid_type",
        body={"model": "gpt-3.5-turbo-instruct", "prompt": {}}, method="completions"),
    Row("moderation of nothing", same("BadRequestError"), 400, "missing_required_parameter",
        body={"model": "omni-moderation-latest"}, method="moderations"),
    Row("embedding of nothing", same("BadRequestError"), 400, "missing_required_parameter",
        body={"model": "text-embedding-3-small"}, method="embeddings"),
    Row("ledger away", same("InternalServerError"), 503, "ledger_unavailable", tries=3),
    Row("draining", same("InternalServerError"), 503, "draining", tries=3),
    Row("provider fails", same("InternalServerError"), 502, "upstream_error", body=chat("status=500")),
    Row("provider unreachable", same("InternalServerError"), 502, "upstream_error",
        body=chat("reset_after_bytes=0")),
    Row("provider refuses our key", same("InternalServerError"), 502, "upstream_error",
        body=chat("status=401")),
    Row("provider silent", same("InternalServerError"), 504, "upstream_timeout",
        body=chat("hang=before_headers")),
    Row("provider refuses the request", same("BadRequestError"), 400, None, body=chat("status=400")),
    Row("provider finds it unprocessable", same("UnprocessableEntityError"), 422, "unprocessable",
        body=chat("status=422")),
    Row("stream cut", same("APIError"), None, "upstream_error",
        body=chat("tokens=20 close_after_chunks=5", stream=True)),
    Row("error inside a stream", same("APIError"), None, None,
        body=chat("tokens=20 error_in_stream=5", stream=True)),
    Row("provider fails before a stream", same("InternalServerError"), 502, "upstream_error",
        body=chat("status=500", stream=True)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row is tried, and with which key."""

    wire: Wire
    secret: str


class World:
    """Everything that stands ready; `place(row)` says where its client goes."""

    def __init__(self, simulator: Simulator, open_with: ExitStack) -> None:
        self._simulator = simulator
        self._open = open_with
        self._places: dict[str, Place] = {}
        self.stacks: list[Stack] = []

    @classmethod
    @contextmanager
    def built(cls, simulator: Simulator) -> Iterator[Self]:
        """The world, for the length of a `with`."""
        with ExitStack() as open_with:
            world = cls(simulator, open_with)
            world.build()
            yield world

    def tries(self, row: Row, client: str) -> int:
        """Requests that the wire has seen of this client's row."""
        return self.tries_of(row.name, client)

    def tries_of(self, name: str, client: str) -> int:
        """The same by the row's name."""
        return self.place_of(name).wire.tries[f"{client} {name}"]

    def place(self, row: Row) -> Place:
        """Where `row` is tried."""
        return self.place_of(row.name)

    def place_of(self, name: str) -> Place:
        """The same by the row's name."""
        return self._places.get(name, self._places["well"])

    def build(self) -> None:
        """Bring every gateway into its state."""
        stack, wire = self._stack()
        funded = stack.key(limits={"month": 100 * DOLLAR})
        keys = {
            "well": funded,
            "malformed key": "sk-not-one-of-ours",
            "unknown key": mint()[0],
            "revoked key": stack.key(),
            "expired key": stack.key(expires_ms=1),
            "no scope": stack.key(scopes=("usage.read",)),
            "another's customer": stack.key(assertion="none", customer="acme"),
            "budget spent": stack.key(limits={"day": 1}),
        }
        stack.revoke(keys["revoked key"])
        self._places |= {name: Place(wire, secret) for name, secret in keys.items()}
        again = stack.key(limits={"month": 100 * DOLLAR})
        assert _ask(stack, again, "finished").status_code == 200
        self._open.enter_context(_streaming(stack, again, "running"))
        repeats = ("request running", "request finished", "another body")
        self._places |= {name: Place(wire, again) for name in repeats}
        self._with_plans()
        self._busy()
        self._draining()
        self._without_ledger()

    def settings(self) -> Settings:
        """Of every gateway here: bodies, leases and patience are small."""
        return simulated_settings(
            self._simulator,
            server=ServerSettings(body_bytes_max=BODY_BYTES_MAX),
            ledger=LedgerSettings(lease_ms=LEASE_MS, heartbeat_ms=HEARTBEAT_MS),
            timeouts=TimeoutSettings(connect_s=20, first_byte_s=5, idle_s=60, total_s=600),
        )

    def _stack(self, **options: Any) -> tuple[Stack, Wire]:
        stack = self._open.enter_context(running_stack(self.settings(), **options))
        self.stacks.append(stack)
        port = int(stack.base_url.rsplit(":", 1)[1].split("/")[0])
        return stack, self._open.enter_context(wire_to("127.0.0.1", port))

    def _with_plans(self) -> None:
        """Customers on no plan are denied."""
        stack, wire = self._stack()
        stack.plans.set_policy(Policy(unknown="deny"))
        self._places["not entitled"] = Place(wire, stack.key())

    def _busy(self) -> None:
        """Limits whose room is taken by a stream that runs, and a rate that has been used up."""
        stack, wire = self._stack()
        held = stack.key(limits={"month": 600_000})
        alone = _with_limit(stack, "concurrency", "now", 1)
        slow = _with_limit(stack, "requests_per_minute", "minute", RATE)
        for secret in (held, alone):
            self._open.enter_context(_streaming(stack, secret))
        while _ask(stack, slow).status_code == 200:
            pass
        self._places |= {
            "budget held": Place(wire, held),
            "too many at once": Place(wire, alone),
            "rate": Place(wire, slow),
        }

    def _draining(self) -> None:
        stack, wire = self._stack()
        secret = stack.key()
        assert _ask(stack, secret).status_code == 200
        stack.loop.call_soon_threadsafe(stack.gateway.drain)
        wait_until(lambda: stack.gateway.parts.draining)
        self._places["draining"] = Place(wire, secret)

    def _without_ledger(self) -> None:
        closing = ExitStack()
        valkey = closing.enter_context(running_valkey())
        stack, wire = self._stack(valkey=valkey)
        secret = stack.key(limits={"month": DOLLAR})
        assert _ask(stack, secret).status_code == 200
        closing.close()
        self._places["ledger away"] = Place(wire, secret)


def _with_limit(stack: Stack, kind: str, window: str, value: int) -> str:
    secret, _ = stack.keyring.create(f"{kind}", limits=[NewLimit(window, value, kind=kind)], assertion="any")
    return secret


def _headers(secret: str, repeat: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"} | ({"Idempotency-Key": repeat} if repeat else {})


def _ask(stack: Stack, secret: str, repeat: str = "") -> httpx2.Response:
    return httpx2.post(
        f"{stack.base_url}/chat/completions",
        json=SHORT,
        headers=_headers(secret, repeat),
        timeout=60,
    )


@contextmanager
def _streaming(stack: Stack, secret: str, repeat: str = "") -> Iterator[None]:
    """A stream that runs until the `with` ends, holding what its maximum can cost."""
    begun, over = threading.Event(), threading.Event()

    def run() -> None:
        with (
            contextlib.suppress(httpx2.HTTPError),
            httpx2.stream(
                "POST",
                f"{stack.base_url}/chat/completions",
                json=LONG,
                headers=_headers(secret, repeat),
                timeout=300,
            ) as answer,
        ):
            assert answer.status_code == 200, answer.read()
            for _ in answer.iter_bytes():
                begun.set()
                if over.is_set():
                    return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(10)
    try:
        yield
    finally:
        over.set()
        thread.join(10)
