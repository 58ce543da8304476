"""A real request to a provider, to see what it does: a short prompt, plain and streamed, and a refusal.

The same upstream, habits and readers as on a request's way, without keys, limits and ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic, time
from typing import Any

import orjson

from accounts.keyring import ACCOUNT
from gateway.dialects import SURFACES, Exchange, sse
from gateway.forwarding.healthboard import HealthBoard
from gateway.forwarding.upstream import Upstream, build_upstream
from gateway.settings import ProviderSettings
from gateway.transport.errors import TransportError
from gateway.transport.port import Answer
from metering.bill import bill
from metering.ids import new_id
from metering.pricebook import PriceBook
from metering.usage.openai import read
from metering.usage.reading import NOTHING, Reading
from routing.presets import preset, price_list
from routing.refusal import read as read_refusal

ANSWER_BYTES_MAX = 1024 * 1024
MAXIMUM_TOKENS = 64
"""Enough for a word, and for the little that reasoning models think before it."""
NO_SUCH_MODEL = "tollkeeper-probe-of-a-model-that-does-not-exist"


@dataclass(slots=True)
class Probe:
    """What one request did. `fault` says in one sentence what was wrong, None where nothing was."""

    fault: str | None = None
    status: int | None = None
    first_byte_ms: int | None = None
    total_ms: int | None = None
    text: str = ""
    usage: dict[str, int] | None = None
    cost_nano: int | None = None
    cost_from: str | None = None
    events: int = 0
    done: bool = False


@dataclass(slots=True)
class Probed:
    """What one provider did. `refusal`: the shape of its errors, in words."""

    provider: str
    model: str
    plain: Probe | None = None
    streamed: Probe | None = None
    refusal: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Both requests were answered whole."""
        return all(each is not None and each.fault is None for each in (self.plain, self.streamed))


async def probe_provider(
    name: str, settings: ProviderSettings, book: PriceBook, *, model: str | None, prompt: str, version: str
) -> Probed:
    """Ask one provider for a word, twice, and for a model that it does not have."""
    chosen = model or _cheap_model(name, settings, book)
    if chosen is None:
        return Probed(name, "")
    upstream = build_upstream(name, settings, version=version, board=HealthBoard())
    found = Probed(name, chosen)
    try:
        found.plain = await _ask(upstream, book, chosen, prompt, stream=False)
        found.streamed = await _ask(upstream, book, chosen, prompt, stream=True)
        found.refusal = await _refused(upstream, prompt)
    finally:
        await upstream.aclose()
    return found


def _cheap_model(name: str, settings: ProviderSettings, book: PriceBook) -> str | None:
    """The preset's own choice, else the first that is offered by name."""
    about = preset(settings.preset or name)
    if about is not None and "probe_model" in about:
        return str(about["probe_model"])
    if isinstance(settings.models, list):
        return settings.models[0] if settings.models else None
    listed = book.models(settings.prices or name)
    return listed[0].id if listed else None


def _call(upstream: Upstream, model: str, prompt: str, *, stream: bool) -> Exchange:
    asked: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        upstream.habits.writes(model): MAXIMUM_TOKENS,
    }
    if stream:
        asked["stream"] = True
    return SURFACES["chat.completions"].call(asked)


async def _send(upstream: Upstream, model: str, prompt: str, *, stream: bool) -> Answer:
    call = _call(upstream, model, prompt, stream=stream)
    changes = upstream.habits.changes(call, model) if upstream.adapts else None
    ask_usage = stream and upstream.include_usage
    body = call.forwarded(model, maximum=None, ask_usage=ask_usage, changes=changes)
    return await upstream.send(upstream.endpoints[0], call, model, body, new_id(), fresh=True)


async def _ask(upstream: Upstream, book: PriceBook, model: str, prompt: str, *, stream: bool) -> Probe:
    found, started = Probe(), monotonic()
    at_ms = int(time() * 1_000)
    try:
        answer = await _send(upstream, model, prompt, stream=stream)
        found.status = answer.status
        if answer.status != 200:
            raw = await answer.read(ANSWER_BYTES_MAX)
            found.fault = f"{read_refusal(answer.status, raw).value}: {_shown(raw)}"
            answer.close()
            return found
        reading = await (_read_stream if stream else _read_whole)(answer, found, started)
    except TransportError as error:
        found.fault = f"{type(error).__name__}: {error}"
        return found
    found.total_ms = round((monotonic() - started) * 1_000)
    _note_cost(upstream, book, model, found, reading, at_ms)
    return found


async def _read_whole(answer: Answer, found: Probe, started: float) -> Reading:
    found.first_byte_ms = round((monotonic() - started) * 1_000)
    raw = await answer.read(ANSWER_BYTES_MAX)
    try:
        document = orjson.loads(raw)
        found.text = document["choices"][0]["message"].get("content") or ""
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        found.fault = f"not a chat answer: {_shown(raw)}"
        return NOTHING
    return read(document)


async def _read_stream(answer: Answer, found: Probe, started: float) -> Reading:
    raw = b""
    while data := await answer.chunk():
        if found.first_byte_ms is None:
            found.first_byte_ms = round((monotonic() - started) * 1_000)
        raw += data
    reading = NOTHING
    for event in sse.events(raw):
        told = sse.event_data(event)
        if told is None:
            continue
        if told.strip() == b"[DONE]":
            found.done = True
            continue
        found.events += 1
        try:
            chunk = orjson.loads(told)
        except orjson.JSONDecodeError:
            found.fault = f"an event that is no JSON: {_shown(told)}"
            continue
        if chunk.get("error"):
            found.fault = f"an error event: {_shown(told)}"
        reading = read(chunk, reading)
    if not found.done and found.fault is None:
        found.fault = "the stream ended without [DONE]"
    return reading


def _note_cost(
    upstream: Upstream, book: PriceBook, model: str, found: Probe, reading: Reading, at_ms: int
) -> None:
    if reading.usage is not None:
        found.usage = reading.usage.document()
    prices, priced_as = price_list(upstream.prices, model)
    cost = bill(book, prices, priced_as, reading, at_ms, account=ACCOUNT)
    if reading.usage is not None or cost.status == "provider_reported":
        found.cost_nano = cost.nano
        found.cost_from = "the provider's report" if cost.status == "provider_reported" else "the price list"


async def _refused(upstream: Upstream, prompt: str) -> str:
    """The shape of the provider's errors, by one that it must make."""
    try:
        answer = await _send(upstream, NO_SUCH_MODEL, prompt, stream=False)
        raw = await answer.read(ANSWER_BYTES_MAX)
        answer.close()
    except TransportError as error:
        return f"{type(error).__name__}: {error}"
    if answer.status == 200:
        return "200: it answers for a model that does not exist"
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return f"{answer.status}, not JSON: {_shown(raw)}"
    if isinstance(document, list):
        shape = "an array around OpenAI's shape"
    elif isinstance(document, dict) and isinstance(document.get("error"), dict):
        shape = "OpenAI's shape"
    else:
        shape = "a shape of its own"
    return f"{answer.status} {read_refusal(answer.status, raw).value}, {shape}: {_shown(raw)}"


def _shown(raw: bytes) -> str:
    return " ".join(raw[:160].decode("utf-8", "replace").split())
