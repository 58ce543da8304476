"""What a text is likely to have been billed as, where no usage was reported; and what reported usage teaches.

One for each worker, which learns from its own answers, from the first time on that it had to estimate: before
that it does without the tokenizer, whose loading takes memory and holds everything up. Few answers are looked
at (`metering.calibration`), one at a time and beside the event loop; their texts are let go as soon as they
are counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.background import Background
from gateway.dialects import Exchange
from gateway.forwarding.candidates import Candidate
from metering import tokens
from metering.calibration import Calibration, Direction, ModelFactors, estimated
from metering.usage import Usage

BODY_BYTES_MAX = 256 * 1024
"""Longer prompts teach nothing: counting them would take a core for longer than 20 ms."""
OUTPUT_TOKENS_MAX = 16_384
"""Nor do longer answers, of which not all may have been kept."""
FINISH_S = 2.0


class Estimates:
    """Counts of prompts and answers, by what is known of each model."""

    def __init__(self, calibration: Calibration | None = None) -> None:
        self._calibration = calibration or Calibration()
        self._background = Background(structlog.get_logger("gateway"))

    async def given(self, call: Exchange, candidate: Candidate) -> int:
        """Tokens of the prompt's texts at that target."""
        return await self._count(call.prompt_text, candidate, "input")

    async def made(self, text: str, candidate: Candidate) -> int:
        """Tokens of an answer's text from that target."""
        return await self._count(lambda: text, candidate, "output") if text else 0

    def beyond(self, candidate: Candidate) -> int:
        """Tokens of thoughts that an answer of that target has on average beyond its text."""
        known = self._known(candidate)
        return known.beyond.tokens if known is not None else 0

    async def _count(self, text: Callable[[], str], candidate: Candidate, direction: Direction) -> int:
        model = candidate.target.model
        counted = await asyncio.to_thread(lambda: tokens.plain_count(text(), model))
        known = self._known(candidate)
        ppm = known.ppm(direction) if known is not None else None
        return estimated(counted, tokens.family_ppm(model) if ppm is None else ppm)

    @property
    def learning(self) -> bool:
        """An answer is being counted; others are passed over meanwhile."""
        return len(self._background) > 0

    def due(self, candidate: Candidate) -> bool:
        """Whether the usage that came with an answer of this target should be learnt from. Asked for each."""
        if not tokens.loaded():
            return False
        known = self._known(candidate)
        return known is not None and known.due() and not self.learning

    def learn(self, call: Exchange, candidate: Candidate, usage: Usage, text: Callable[[], str]) -> None:
        """Compare the usage of a whole answer with what its texts are counted as. `text`: gives its own."""
        known = self._known(candidate)
        if known is not None and _input_tells(call, candidate, usage):
            self._background.start(self._learn(known, call, candidate, usage, text), "calibration")

    async def _learn(
        self,
        known: ModelFactors,
        call: Exchange,
        candidate: Candidate,
        usage: Usage,
        text: Callable[[], str],
    ) -> None:
        known.looked()
        model = candidate.target.model
        prompt = await asyncio.to_thread(lambda: tokens.plain_count(call.prompt_text(), model))
        known.input.observe(prompt, usage.input_tokens - call.likely_input(0))
        if _output_tells(call, usage):
            answer = await asyncio.to_thread(lambda: tokens.plain_count(text(), model))
            counted = call.likely_output(answer, prompt)
            known.observe_output(counted, usage.output_tokens, usage.reasoning_output_tokens)
        if candidate.price is not None:
            self._calibration.observed(candidate.target.provider, candidate.price.model)

    def _known(self, candidate: Candidate) -> ModelFactors | None:
        """What is known of the target's model, by its name in the price list: clients cannot make those up.

        None where it has no price.
        """
        if candidate.price is None:
            return None
        target, model = candidate.target, candidate.price.model
        return self._calibration.find(target.provider, model) or self._calibration.begin(
            target.provider, model, learns=not tokens.exact_for(target.prices, target.model)
        )

    async def finish(self) -> None:
        """At the worker's end: wait a moment for what is being counted."""
        await self._background.finish(FINISH_S)


def _input_tells(call: Exchange, candidate: Candidate, usage: Usage) -> bool:
    """Whether the input is the prompt's texts and what usually stands around them, and nothing else."""
    beyond = call.images or call.has_media or call.fills_context or call.uncounted or call.added_tokens
    return not beyond and not usage.extra and len(candidate.body) <= BODY_BYTES_MAX


def _output_tells(call: Exchange, usage: Usage) -> bool:
    """Whether the output is text and thoughts, and no more than is kept for certain."""
    media = usage.output_audio_tokens or usage.output_image_tokens
    return call.produces_tokens and not media and usage.output_tokens <= OUTPUT_TOKENS_MAX
