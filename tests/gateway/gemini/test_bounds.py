"""What is held for a request is above what it cost, for every recorded exchange and for whatever is asked."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ceiling import ceiling
from gateway.dialects import SURFACES, Exchange
from gateway.dialects.surfaces import find_surface
from gateway.errors import BadRequest
from metering.bill import bill
from metering.pricebook import ModelPrice, PriceBook
from metering.usage.reading import NOTHING, Reading
from tests.gateway.gemini.test_recordings import answers, asked_of, exchanges, model_of
from tests.gateway.replay import id_of, needs_recordings
from tests.metering.conftest import moment

AT = moment("2026-11-21")
BOOK = PriceBook.load()


def runs_at_google(exchange: dict[str, Any]) -> bool:
    """Whether one of its tools does: such a request has no bound, and says so."""
    tools = asked_of(exchange).get("tools") or []
    named = {name for tool in (tools if isinstance(tools, list) else [tools]) for name in tool}
    return bool(named - {"functionDeclarations", "function_declarations"})


def understood(exchange: dict[str, Any]) -> Exchange:
    path, _, query = exchange["path"].partition("?")
    found = find_surface("POST", path)
    assert found is not None
    surface, place = found
    return surface.call(asked_of(exchange), **surface.asked(place, query.encode()))


def read(exchange: dict[str, Any], call: Exchange) -> Reading:
    reading = NOTHING
    for each in answers(exchange):
        reading = SURFACES[call.surface].read(each, reading)
    return reading


def priced(model: str) -> ModelPrice:
    price = BOOK.find("google", model, AT)
    assert price is not None
    return price


@needs_recordings
def test_nothing_recorded_was_above_its_bound(record_property: Any) -> None:
    held = 0
    for exchange in exchanges():
        call, model = understood(exchange), model_of(exchange)
        reading = read(exchange, call)
        assert (call.unbounded is not None) == runs_at_google(exchange), id_of(exchange)
        if call.unbounded is not None or reading.usage is None:
            continue
        price = priced(model)
        bound = ceiling(call, call.forwarded(model, maximum=None, ask_usage=False), price)
        assert bound is not None or (call.fills_context and price.context_window is None), id_of(exchange)
        if bound is None:
            continue
        held += 1
        assert reading.usage.input_tokens <= bound.tokens.given, id_of(exchange)
        assert reading.usage.output_tokens <= bound.tokens.output(bound.maximum), id_of(exchange)
        cost = bill(BOOK, "google", model, reading, AT)
        assert cost.nano is not None
        assert cost.nano <= bound.full, id_of(exchange)
    record_property("within their bounds", held)
    assert held >= 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**7) | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
PART = st.fixed_dictionaries(
    {},
    optional={
        "text": JSON,
        "inlineData": st.fixed_dictionaries(
            {},
            optional={
                "mimeType": st.sampled_from(["image/png", "audio/wav", "text/plain", "video/mp4", 7]),
                "data": st.sampled_from(["UklGRg==", "////", "\u00e9", "A", 5]),
            },
        ),
        "file_data": JSON,
        "functionResponse": st.fixed_dictionaries({}, optional={"parts": JSON, "response": JSON}),
        "thoughtSignature": JSON,
    },
)
BODY = st.fixed_dictionaries(
    {},
    optional={
        "contents": JSON | st.lists(st.fixed_dictionaries({"parts": st.lists(PART, max_size=3) | PART})),
        "systemInstruction": JSON,
        "system_instruction": JSON,
        "tools": JSON | st.lists(st.fixed_dictionaries({}, optional={"functionDeclarations": JSON})),
        "generationConfig": JSON
        | st.fixed_dictionaries({}, optional={"maxOutputTokens": JSON, "responseModalities": JSON}),
        "generation_config": JSON,
        "cachedContent": JSON,
        "serviceTier": JSON,
        "model": JSON,
        "content": JSON | st.fixed_dictionaries({"parts": st.lists(PART, max_size=3)}),
        "requests": JSON | st.lists(st.fixed_dictionaries({"content": JSON, "model": JSON}), max_size=3),
        "instances": JSON,
        "generateContentRequest": JSON,
    },
)


@pytest.mark.wide
@given(surface=st.sampled_from(sorted(n for n, s in SURFACES.items() if s.key_in_query)), body=BODY)
def test_whatever_is_asked_is_understood_or_refused(surface: str, body: dict[str, Any]) -> None:
    try:
        call = SURFACES[surface].call(body, model="m")
    except BadRequest:
        return
    forwarded = call.forwarded("gemini-2.5-flash", maximum=None, ask_usage=False)
    bound = ceiling(call, forwarded, priced("gemini-2.5-flash"))
    assert bound is not None
    assert bound.tokens.given >= 0
    assert call.prompt_text() is not None
    if call.produces_tokens:
        written = call.forwarded("n", maximum=("maxOutputTokens", 7), ask_usage=False)
        again = SURFACES[surface].call(orjson.loads(written), model="n")
        assert again.maximum == 7
