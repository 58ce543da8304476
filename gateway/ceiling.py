"""The most a request can cost at one target, worked out before it is sent. Pure.

    ceiling = input bound x dearest input rate + choices x output bound x dearest output rate + fees

The input bound is free to compute and holds for any tokenizer that works on bytes or on their NFKC form: no
token is shorter than one byte, so the tokens of a prompt are at most the bytes of the body that carries it.
A tokenizer that normalises first (NFKC) can make text longer as well as shorter, so the larger of the two
counts. Images are bounded by the largest figure a provider publishes. What has no bound has no ceiling.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from gateway.dialects.exchange import Exchange
from metering.money import pico_to_nano_up
from metering.price import CeilingRates, ModelPrice
from metering.units import unit_of

ASSUMED_OUTPUT = 4_096
ASSUMED_OUTPUT_REASONING = 16_384
LEAST_OUTPUT = 256
LEAST_OUTPUT_REASONING = 2_048
UNKNOWN_MAXIMUM = 1_000_000
"""Stands for a maximum nobody publishes: never ample, so the assumed maximum is written instead."""

MESSAGE_TOKENS = 16
"""Above every published overhead per message (OpenAI: 3 or 4, and 3 to prime the answer)."""
TOOL_TOKENS = 64
"""Above what a provider adds around each tool's own schema."""
BASE_TOKENS = 1_024
"""Above the system prompt that a provider adds once when tools are given (Anthropic: up to 804)."""


class TokenBound(NamedTuple):
    """The most tokens of one request: those given, those predicted for each choice, and its choices."""

    given: int
    predicted: int
    choices: int

    def output(self, maximum: int) -> int:
        """Output tokens of all choices together when each has this maximum."""
        return self.choices * (maximum + self.predicted)

    def maximum_within(self, output_tokens: int) -> int:
        """The largest maximum for each choice that fits; may be negative."""
        return output_tokens // max(1, self.choices) - self.predicted


class Ceiling(NamedTuple):
    """What one request can cost at one target, by its output bound. Nano-USD, rounded up.

    `maximum` is the output the answer may have if nothing is written into the request; `assumed` and
    `least` are the outputs to fall back to; all three are one where the client set its own maximum.
    """

    fixed_pico: int
    output_pico: int
    maximum: int
    assumed: int
    least: int
    tokens: TokenBound

    def at(self, output_tokens: int) -> int:
        """The cost in nano-USD when each choice has this many output tokens."""
        return pico_to_nano_up(self.fixed_pico + output_tokens * self.output_pico)

    @property
    def full(self) -> int:
        """The cost at the maximum that applies when nothing is written."""
        return self.at(self.maximum)

    def output_within(self, held_nano: int) -> int:
        """The largest output bound that fits into a hold; never negative."""
        if not self.output_pico:
            return self.maximum
        return max(0, (held_nano * 1_000 - self.fixed_pico) // self.output_pico)


NO_COST = Ceiling(0, 0, 0, 0, 0, TokenBound(0, 0, 0))
"""Of what providers charge nothing for."""


def input_bound(call: Exchange, body: bytes) -> int:
    """Tokens that the prompt can have at most, from the body as it is forwarded."""
    text = len(body)
    if not body.isascii():
        text = max(text, len(unicodedata.normalize("NFKC", body.decode()).encode()))
    text += call.messages * MESSAGE_TOKENS + call.repeated_bytes
    text += call.images * call.image_tokens - call.media_bytes + call.added_tokens
    if call.tools:
        text += BASE_TOKENS + call.tools * TOOL_TOKENS
    return text


def counted_bound(call: Exchange, tokens: int) -> int:
    """The same bound from an exact count of the prompt's text."""
    bound = call.counted_prompt(tokens) + call.messages * MESSAGE_TOKENS
    bound += call.repeated_bytes + call.added_tokens
    return bound + BASE_TOKENS + call.tools * TOOL_TOKENS if call.tools else bound


def ceiling(
    call: Exchange,
    body: bytes,
    price: ModelPrice,
    *,
    input_tokens: int | None = None,
    assumed_output: int | None = None,
    least_output: int | None = None,
    region: str | None = None,
) -> Ceiling | None:
    """The ceiling of `call` at one target's price; None where some of its tokens have no price there, or its
    input has no other bound than a context window that is not known.

    `input_tokens`: an exact or better input bound, where it was counted. `assumed_output` and
    `least_output`: what the route configures in place of the shipped figures. `region`: where it is sent, if
    that may have prices of its own.
    """
    given = input_bound(call, body) if input_tokens is None else input_tokens
    if call.fills_context:
        if price.context_window is None:
            return None
        given = call.context(price.context_window)
    if call.units and (fees_pico := _fees(call, price, region)) is not None:
        return Ceiling(fees_pico, 0, 0, 0, 0, TokenBound(given, 0, 0))
    media = call.has_media or price.makes_images
    rates = price.ceiling_rates(input_tokens_max=given, media=media, region=region)
    if _unbounded_rate(call, price, rates):
        return None
    fixed = given * rates.input_pico + rates.request_pico
    if not call.produces_tokens:
        return Ceiling(fixed, 0, 0, 0, 0, TokenBound(given, 0, 0))
    tokens = TokenBound(given, call.predicted_bytes, call.choices)
    fixed += call.predicted_bytes * call.choices * rates.output_pico
    known = price.max_output_tokens or price.context_window
    maximum = known or UNKNOWN_MAXIMUM
    output_pico = call.choices * rates.output_pico
    if call.maximum is not None:
        maximum = min(call.maximum, known) if known else call.maximum
        return Ceiling(fixed, output_pico, maximum, maximum, maximum, tokens)
    assumed = assumed_output or call.usual_maximum
    assumed = assumed or (ASSUMED_OUTPUT_REASONING if price.reasoning else ASSUMED_OUTPUT)
    least = least_output or (LEAST_OUTPUT_REASONING if price.reasoning else LEAST_OUTPUT)
    assumed = min(assumed, maximum)
    least = min(least, assumed)
    if price.context_window and not call.fills_context:
        # A maximum that prompt and context have no room for is refused by some providers.
        assumed = max(least, min(assumed, price.context_window - given))
    return Ceiling(fixed, output_pico, maximum, assumed, least, tokens)


def without_price(
    call: Exchange, body: bytes, *, assumed_output: int | None = None, least_output: int | None = None
) -> Ceiling:
    """The bound in tokens alone, where no price is known and none is asked for."""
    given = UNKNOWN_MAXIMUM if call.fills_context else input_bound(call, body)
    if not call.produces_tokens:
        return Ceiling(0, 0, 0, 0, 0, TokenBound(given, 0, 0))
    tokens = TokenBound(given, call.predicted_bytes, call.choices)
    if call.maximum is not None:
        return Ceiling(0, 0, call.maximum, call.maximum, call.maximum, tokens)
    assumed = assumed_output or call.usual_maximum or ASSUMED_OUTPUT
    return Ceiling(0, 0, UNKNOWN_MAXIMUM, assumed, min(least_output or LEAST_OUTPUT, assumed), tokens)


def _fees(call: Exchange, price: ModelPrice, region: str | None) -> int | None:
    """What is billed by other units than tokens can come to, pico-USD; None where the price knows one not."""
    total = 0
    for name, most in call.units:
        unit, pico = unit_of(name), price.ceiling_of(name, region)
        if unit is None or pico is None:
            return None
        total += -(-most * pico // unit.per)
    return total


def _unbounded_rate(call: Exchange, price: ModelPrice, rates: CeilingRates) -> bool:
    """True when the request can use tokens that the price list has no rate for."""
    if "input_tokens" in rates.unpriced or (call.produces_tokens and "output_tokens" in rates.unpriced):
        return True
    return call.has_audio and not (price.prices("input_audio_tokens") and price.prices("output_audio_tokens"))
