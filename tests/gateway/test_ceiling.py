import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ceiling import LEAST_OUTPUT, ceiling, input_bound
from gateway.dialects import SURFACES, Exchange
from metering import tokens
from metering.pricebook import ModelPrice, PriceBook

NOW = 1_790_000_000_000


@pytest.fixture(scope="module")
def price() -> ModelPrice:
    found = PriceBook.load().find("openai", "gpt-4o-mini", NOW)
    assert found is not None
    return found


def read(content: object, **fields: object) -> Exchange:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": content}], **fields}
    return SURFACES["chat.completions"].call(body)


def body_of(call: Exchange) -> bytes:
    return call.forwarded(call.model, maximum=None, ask_usage=False)


@given(st.text(max_size=200))
def test_the_bound_is_above_every_tokenizer_that_works_on_bytes_or_on_nfkc(text: str) -> None:
    call = read(text.encode("utf-8", "ignore").decode())
    content = call.body["messages"][0]["content"]
    bound = input_bound(call, body_of(call))
    assert bound >= len(content.encode())
    assert bound >= len(unicodedata.normalize("NFKC", content).encode())
    assert bound >= tokens.count(content, "gpt-4o-mini")


@pytest.mark.parametrize("letter", ["\ufdfa", "Ａ", "ﬁ", "½"])
def test_letters_that_normalising_stretches_or_shrinks_are_covered_both_ways(letter: str) -> None:
    call = read(letter * 100)
    bound = input_bound(call, body_of(call))
    assert bound >= len(letter.encode()) * 100
    assert bound >= len(unicodedata.normalize("NFKC", letter).encode()) * 100


def test_an_image_counts_its_published_maximum_and_not_its_base64() -> None:
    parts = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 1_000_000}}]
    call = read(parts)
    assert call.image_tokens < input_bound(call, body_of(call)) < call.image_tokens + 1_000


def test_a_ceiling_is_input_and_output_at_their_dearest_rates(price: ModelPrice) -> None:
    call = read("hi", max_tokens=100, n=3)
    body = body_of(call)
    rates = price.ceiling_rates()
    bound = ceiling(call, body, price)
    pico = input_bound(call, body) * rates.input_pico + 3 * 100 * rates.output_pico
    assert bound.full == -(-pico // 1_000)
    assert bound.maximum == bound.assumed == bound.least == 100


def test_without_a_maximum_three_ceilings_are_told_apart(price: ModelPrice) -> None:
    call = read("hi")
    bound = ceiling(call, body_of(call), price)
    assert (bound.maximum, bound.assumed, bound.least) == (16_384, 4_096, 256)
    full, assumed, least = bound.full, bound.at(bound.assumed), bound.at(bound.least)
    assert full > assumed > least > 0
    assert bound.output_within(assumed) == 4_096
    assert bound.output_within(least) == LEAST_OUTPUT
    assert bound.output_within(least - 1) == LEAST_OUTPUT - 1
    assert bound.output_within(0) == 0


def test_a_maximum_above_the_models_own_is_held_at_the_models_own(price: ModelPrice) -> None:
    bound = ceiling(read("hi", max_tokens=1_000_000), b"{}", price)
    assert bound.maximum == 16_384


def test_predicted_output_is_billed_beside_the_maximum(price: ModelPrice) -> None:
    plain = read("hi", max_tokens=10)
    predicted = read("hi", max_tokens=10, prediction={"type": "content", "content": "x" * 500})
    rates = price.ceiling_rates()
    assert (
        ceiling(predicted, b"{}", price).fixed_pico - ceiling(plain, b"{}", price).fixed_pico
        == 500 * rates.output_pico
    )
