"""What is answered to a request to generate: its parts, its tokens, its usage and its whole document."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from simulator import tokens
from simulator.cache import seen_before
from simulator.dialect import Asked, Said, Stream, Whole, whole
from simulator.directive import Directive
from simulator.gemini.dialect import JSON, Google
from simulator.gemini.events import events, framed
from simulator.gemini.generate import CountCall, GenerateCall
from simulator.gemini.models import GEMINIS, KNOWN, Gemini
from simulator.gemini.prompt import called, signature
from simulator.models import Rates
from simulator.pieces import Pieces, any_json, cut, example
from simulator.wire import Reply

SSE = b"text/event-stream"
SUMMARY = 4
"""Thoughts are shown as a summary: one token for so many."""


@dataclass(frozen=True, slots=True)
class Answer(Pieces):
    """A whole answer, decided before its first byte leaves. Every piece is one token.

    `pieces` are the text, or the tool's arguments when `tool` is its name; the name's own pieces are
    `name_tokens`. Thoughts are not among the tokens of the candidate.
    """

    id: str
    gemini: Gemini
    vertex: bool
    created: float
    tier: str
    rates: Rates
    prompt_tokens: int
    modalities: dict[str, int]
    cached: int
    reasoning: int
    shown: str
    searches: int
    pieces: list[str]
    tool: str | None
    name_tokens: int
    finish: str

    @property
    def candidate_tokens(self) -> int:
        """Output tokens of what is said."""
        return self.name_tokens + len(self.pieces)

    def usage(self, said: int) -> dict[str, Any]:
        """Usage when so many tokens of the candidate were said: cumulative, thoughts outside of them."""
        usage: dict[str, Any] = {"promptTokenCount": self.prompt_tokens}
        if said:
            usage["candidatesTokenCount"] = said
        usage["totalTokenCount"] = self.prompt_tokens + said + self.reasoning
        if self.cached:
            usage["cachedContentTokenCount"] = self.cached
        if self.vertex:
            usage["trafficType"] = "ON_DEMAND"
        usage["promptTokensDetails"] = [
            {"modality": name, "tokenCount": number} for name, number in self.modalities.items()
        ]
        if self.cached:
            usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": self.cached}]
        if self.vertex and said:
            usage["candidatesTokensDetails"] = [{"modality": "TEXT", "tokenCount": said}]
        if self.reasoning:
            usage["thoughtsTokenCount"] = self.reasoning
        if not self.vertex:
            usage["serviceTier"] = self.tier
        return usage

    def tail(self) -> dict[str, Any]:
        """What every document ends with."""
        tail: dict[str, Any] = {"modelVersion": self.gemini.model.snapshot}
        if self.vertex:
            whole, fraction = divmod(self.created, 1)
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
            tail["createTime"] = f"{stamp}.{int(fraction * 1_000_000):06}Z"
        tail["responseId"] = self.id
        return tail

    def candidate(self, parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
        """A candidate with these parts; `finish` where it is the last."""
        if self.vertex:
            candidate: dict[str, Any] = {"content": {"role": "model", **({"parts": parts} if parts else {})}}
        else:
            candidate = {"content": {**({"parts": parts} if parts else {}), "role": "model"}}
        if finish is not None:
            candidate["finishReason"] = finish
        if not self.vertex:
            candidate["index"] = 0
        if finish is not None and self.searches:
            candidate["groundingMetadata"] = {
                "webSearchQueries": [f"simulated provider {number}" for number in range(self.searches)],
                "groundingChunks": [{"web": {"uri": "https://example.com/", "title": "A simulated page"}}],
            }
        return candidate

    def call(self) -> dict[str, Any]:
        """The part that calls a function."""
        arguments = orjson.loads("".join(self.pieces)) if self.finish == "STOP" else {}
        call: dict[str, Any] = {"name": self.tool, "args": arguments}
        if not self.gemini.signs:
            return {"functionCall": call}
        signed = signature(called(str(self.tool), arguments))
        return {"functionCall": {**call, "id": self.id[-8:]}, "thoughtSignature": signed}

    def thought(self) -> dict[str, Any]:
        """The part that sums up the thoughts."""
        return {"text": self.shown, "thought": True}

    def document(self, *, usage: bool = True) -> bytes:
        """The whole answer."""
        parts: list[dict[str, Any]] = [self.thought()] if self.shown else []
        if self.tool is not None:
            parts.append(self.call())
        elif self.pieces:
            parts.append({"text": "".join(self.pieces)})
        candidate = self.candidate(parts, self.finish)
        if self.tool is not None:
            candidate["finishMessage"] = "Model generated function call(s)."
        document: dict[str, Any] = {"candidates": [candidate]}
        if usage:
            document["usageMetadata"] = self.usage(self.candidate_tokens)
        return orjson.dumps({**document, **self.tail()}, option=orjson.OPT_INDENT_2)


def compose(
    call: GenerateCall, wish: Directive, *, answer_id: str, created: float, cached: int, tokens_wanted: int
) -> Answer:
    """Decide the whole answer to `call` under the directive in force.

    `tokens_wanted` is the length without a directive; `cached` what the prompt cache knows.
    """
    prompt = call.said.prompt
    gemini = GEMINIS[wish.serving(KNOWN, call.gemini.model).id]
    pieces, name_tokens = _said(call, tokens_wanted if wish.tokens is None else wish.tokens)
    finish = "STOP"
    thoughts = call.thoughts if wish.reasoning is None else wish.reasoning
    maximum = gemini.model.max_output if call.maximum is None else call.maximum
    if not wish.ignore_max and (left := cut(maximum, thoughts, name_tokens, pieces)) is not None:
        finish = "MAX_TOKENS"
        thoughts, name_tokens, pieces = left
    searches = 0
    if call.may_search:
        searches = (0 if call.tool else 1) if wish.searches is None else wish.searches
    tier = gemini.model.served_tier(wish.tier or call.tier)
    return Answer(
        id=answer_id,
        gemini=gemini,
        vertex=call.vertex,
        created=created,
        tier=tier,
        rates=gemini.model.rates(tier, prompt.total),
        prompt_tokens=prompt.total,
        modalities=call.said.modalities,
        cached=cached if wish.cached is None else min(wish.cached, prompt.total),
        reasoning=thoughts,
        shown="".join(tokens.words(-(-thoughts // SUMMARY), 1)) if call.show_thoughts else "",
        searches=searches,
        pieces=pieces,
        tool=call.tool.name if call.tool and name_tokens else None,
        name_tokens=name_tokens,
        finish=finish,
    )


def _said(call: GenerateCall, wanted: int) -> tuple[list[str], int]:
    """The pieces before any maximum, and the tokens of the function's name."""
    seed = crc32(call.said.prompt.last_user.encode())
    if call.tool is not None:
        return example(call.tool.parameters), tokens.count(call.tool.name)
    if call.schema is not None:
        return example(call.schema), 0
    if not call.json:
        return tokens.words(wanted, seed), 0
    return any_json(wanted, seed), 0


def _answered(asked: Asked, call: GenerateCall, wish: Directive) -> Answer:
    prompt, model = call.said.prompt, call.gemini.model
    answer = compose(
        call,
        wish,
        answer_id=asked.request_id,
        created=time.time(),
        cached=seen_before(asked, prompt, model),
        tokens_wanted=asked.tokens,
    )
    asked.charge.begin(
        answer.gemini.model.snapshot,
        answer.rates,
        answer.prompt_tokens,
        tier=answer.tier,
        cached=answer.cached,
        searches=answer.searches,
        fees=answer.gemini.fees(answer.searches),
    )
    return answer


def say_generate(asked: Asked, call: GenerateCall, wish: Directive) -> Said:
    """The answer in one document."""
    answer = _answered(asked, call, wish)
    return whole(asked, answer, wish, JSON)


def say_stream(asked: Asked, call: GenerateCall, wish: Directive) -> Said:
    """The answer as a stream of events or, without `alt=sse`, as a growing array."""
    answer = _answered(asked, call, wish)
    told = events(answer, wish, asked.dialect.fault(asked.request_id))
    array = isinstance(asked.dialect, Google) and asked.dialect.array
    return Stream(framed(told, array=array), answer, JSON if array else SSE)


def say_count(asked: Asked, call: CountCall, wish: Directive) -> Whole:
    """The number of input tokens. Counting costs nothing."""
    details = [{"modality": name, "tokenCount": number} for name, number in call.said.modalities.items()]
    document = {"totalTokens": call.said.prompt.total, "promptTokensDetails": details}
    return Whole(Reply(200, orjson.dumps(document, option=orjson.OPT_INDENT_2), content_type=JSON))
