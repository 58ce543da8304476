"""A real request to a provider, to see what it does: a short prompt, plain and streamed, and a refusal.

Asked in a dialect that the provider speaks, by the same upstream, habits and readers as on a request's way,
without keys, limits and ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, time
from typing import Any

import orjson

from accounts.keyring import ACCOUNT
from gateway.dialects import Surface
from gateway.forwarding.healthboard import HealthBoard
from gateway.forwarding.questions import Asked, askable, question
from gateway.forwarding.tap import StreamTap
from gateway.forwarding.upstream import Upstream, build_upstream
from gateway.settings import ProviderSettings
from gateway.transport.errors import TransportError
from gateway.transport.port import Answer
from metering.bill import bill
from metering.ids import new_id
from metering.pricebook import PriceBook
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
    """What one provider did. `surface`: what it was asked as, "" where it can be asked for no word.
    `refusal`: the shape of its errors, in words."""

    provider: str
    model: str = ""
    surface: str = ""
    plain: Probe | None = None
    streamed: Probe | None = None
    refusal: str | None = None

    @property
    def works(self) -> bool:
        """Both requests were answered whole."""
        return all(each is not None and each.fault is None for each in (self.plain, self.streamed))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where and how one provider is asked."""

    upstream: Upstream
    surface: Surface
    book: PriceBook
    prompt: str

    async def send(self, model: str, *, stream: bool) -> Answer:
        """Ask; raises TransportError where no answer's head arrives."""
        upstream = self.upstream
        asked = Asked(model, self.prompt, MAXIMUM_TOKENS, stream, upstream.habits.writes(model))
        call = question(self.surface, asked)
        changes = upstream.habits.changes(call, model) if upstream.adapts and call.has_habits else None
        ask_usage = stream and call.asks_usage and upstream.include_usage
        body = call.forwarded(model, maximum=None, ask_usage=ask_usage, changes=changes)
        return await upstream.send(upstream.endpoints[0], call, model, body, new_id(), fresh=True)


async def probe_provider(
    name: str,
    settings: ProviderSettings,
    *,
    book: PriceBook,
    model: str | None,
    surface: str | None,
    prompt: str,
    version: str,
) -> Probed:
    """Ask one provider for a word, twice, and for a model that it does not have.

    `surface`: what to ask it as, by default the first that it speaks. Without a `model`, a cheap one.
    """
    spoken = [each for each in askable(settings.paths) if surface in (None, each.name)]
    chosen = model or _cheap_model(name, settings, book)
    found = Probed(name, chosen or "", spoken[0].name if spoken else "")
    if chosen is None or not spoken:
        return found
    upstream = build_upstream(name, settings, version=version, board=HealthBoard())
    place = _Place(upstream, spoken[0], book, prompt)
    try:
        found.plain = await _ask(place, chosen, stream=False)
        found.streamed = await _ask(place, chosen, stream=True)
        found.refusal = await _refused(place)
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


async def _ask(place: _Place, model: str, *, stream: bool) -> Probe:
    found, started = Probe(), monotonic()
    at_ms = int(time() * 1_000)
    try:
        answer = await place.send(model, stream=stream)
        found.status = answer.status
        if answer.status != 200:
            raw = await answer.read(ANSWER_BYTES_MAX)
            found.fault = f"{read_refusal(answer.status, raw).value}: {_shown(raw)}"
            answer.close()
            return found
        reading = await (_read_stream if stream else _read_whole)(place.surface, answer, found, started)
    except TransportError as error:
        found.fault = f"{type(error).__name__}: {error}"
        return found
    found.total_ms = round((monotonic() - started) * 1_000)
    _note_cost(place, model, found, reading, at_ms)
    return found


async def _read_whole(surface: Surface, answer: Answer, found: Probe, started: float) -> Reading:
    found.first_byte_ms = round((monotonic() - started) * 1_000)
    raw = await answer.read(ANSWER_BYTES_MAX)
    dialect = surface.dialect
    document = dialect.document(raw)
    if document is None or dialect.failed(document):
        found.fault = (
            f"{'not an answer' if document is None else 'an error'} of {surface.name}: {_shown(raw)}"
        )
        return NOTHING
    found.text = dialect.answer_text(document) or dialect.text(document)
    found.done = bool(found.text or dialect.reasons(document))
    if not found.done:
        found.fault = f"not an answer of {surface.name}: {_shown(raw)}"
        return NOTHING
    reading = surface.read(document)
    return reading if reading.usage is not None else dialect.read_headers(answer.headers, reading)


async def _read_stream(surface: Surface, answer: Answer, found: Probe, started: float) -> Reading:
    dialect, tap = surface.dialect, StreamTap(surface, strip_usage=False)
    raw = b""
    while data := await answer.chunk():
        if found.first_byte_ms is None:
            found.first_byte_ms = round((monotonic() - started) * 1_000)
        raw += tap.feed(data)
    raw += tap.end()
    tap.conclude()
    found.text = tap.text(dialect.answer_text) or tap.text()
    for event in dialect.events(raw):
        told = dialect.event_data(event)
        if not told:
            continue
        document = dialect.document(told)
        found.done = found.done or dialect.ends(told, document)
        if document is not None:
            found.events += 1
        elif not found.done:
            found.fault = f"an event that cannot be read: {_shown(told)}"
    if tap.error is not None:
        found.fault = f"an error event: {_shown(orjson.dumps(tap.error))}"
    elif not found.done and found.fault is None:
        found.fault = f"the stream was cut: it did not end as those of {surface.name} do"
    return tap.reading


def _note_cost(place: _Place, model: str, found: Probe, reading: Reading, at_ms: int) -> None:
    if reading.usage is not None:
        found.usage = reading.usage.document()
    prices, priced_as = price_list(place.upstream.prices, model)
    cost = bill(place.book, prices, priced_as, reading, at_ms, account=ACCOUNT)
    if reading.usage is not None or cost.status == "provider_reported":
        found.cost_nano = cost.nano
        found.cost_from = "the provider's report" if cost.status == "provider_reported" else "the price list"


async def _refused(place: _Place) -> str:
    """The shape of the provider's errors, by one that it must make."""
    try:
        answer = await place.send(NO_SUCH_MODEL, stream=False)
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
    return f"{answer.status} {read_refusal(answer.status, raw).value}, {_shape(document)}: {_shown(raw)}"


def _shape(document: Any) -> str:
    """Whose errors look so."""
    if isinstance(document, list):
        return "an array around " + _shape(document[0] if document else None)
    if not isinstance(document, dict):
        return "a shape of its own"
    error = document.get("error")
    if not isinstance(error, dict):
        alone = isinstance(document.get("message"), str)
        return "a message alone, as Cohere's and Amazon's" if alone else "a shape of its own"
    if document.get("type") == "error":
        return "Anthropic's shape"
    return "Google's shape" if isinstance(error.get("status"), str) else "OpenAI's shape"


def _shown(raw: bytes) -> str:
    return " ".join(raw[:160].decode("utf-8", "replace").split())
