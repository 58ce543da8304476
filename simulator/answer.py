"""What is said to a chat request: the pieces, the hidden tokens, why it ends, and its whole document."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from simulator import tokens
from simulator.cache import seen_before
from simulator.chat import ChatCall, read_chat
from simulator.chat_events import events
from simulator.dialect import Asked, Said, Stream, whole
from simulator.directive import Directive
from simulator.models import KNOWN, Model, Rates
from simulator.pieces import Pieces, any_json, cut, example


@dataclass(frozen=True, slots=True)
class Answer(Pieces):
    """A whole answer, decided before its first byte leaves. Every piece is one token.

    `pieces` are the text, or the tool's arguments when `tool` is its name; the name's own pieces are
    `name_tokens`.
    """

    id: str
    created: int
    model: Model
    name: str
    tier: str
    prompt_tokens: int
    cached: int
    reasoning: int
    pieces: list[str]
    tool: str | None
    name_tokens: int
    finish: str

    @property
    def rates(self) -> Rates:
        """What the served model costs at the served tier."""
        return self.model.tiers[self.tier]

    @property
    def call_id(self) -> str:
        """The tool call's id."""
        return f"call_{self.id[-24:]}"

    def usage(self) -> dict[str, Any]:
        """Usage as OpenAI reports it."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def document(self, *, usage: bool = True) -> bytes:
        """The `chat.completion` object."""
        text = "".join(self.pieces)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if self.tool is not None:
            message["content"] = None
            message["tool_calls"] = [
                {
                    "id": self.call_id,
                    "type": "function",
                    "function": {"name": self.tool, "arguments": text},
                }
            ]
        message["refusal"] = None
        message["annotations"] = []
        document: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.name,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish}],
        }
        if usage:
            document["usage"] = self.usage()
        document["service_tier"] = self.tier
        document["system_fingerprint"] = "fp_simulated0"
        return orjson.dumps(document)


def compose(
    call: ChatCall, wish: Directive, *, answer_id: str, created: int, cached: int, tokens_wanted: int
) -> Answer:
    """Decide the whole answer to `call` under the directive in force.

    `tokens_wanted` is the length without a directive; `cached` what the prompt cache knows.
    """
    wanted = tokens_wanted if wish.tokens is None else wish.tokens
    model = wish.serving(KNOWN, call.model)
    pieces, name_tokens, finish = _said(call, wanted)
    reasoning = call.effort
    if wish.reasoning is not None and call.model.reasoning:
        reasoning = wish.reasoning
    maximum = min(call.model.max_output, call.model.context - call.prompt.total)
    if call.maximum is not None:
        maximum = min(maximum, call.maximum)
    if not wish.ignore_max and (left := cut(maximum, reasoning, name_tokens, pieces)) is not None:
        finish = "length"
        reasoning, name_tokens, pieces = left
    known = cached if wish.cached is None else min(wish.cached, call.prompt.total)
    return Answer(
        id=answer_id,
        created=created,
        model=model,
        name=model.snapshot,
        tier=model.served_tier(wish.tier or call.tier),
        prompt_tokens=call.prompt.total,
        cached=known,
        reasoning=reasoning,
        pieces=pieces,
        tool=call.tool.name if call.tool and name_tokens else None,
        name_tokens=name_tokens,
        finish=finish,
    )


def _said(call: ChatCall, wanted: int) -> tuple[list[str], int, str]:
    """The pieces before any maximum, the tokens of the tool's name, and the reason to end."""
    seed = crc32(call.prompt.last_user.encode())
    if call.tool is not None:
        # OpenAI ends with "stop" when the request named the function, with "tool_calls" otherwise.
        finish = "stop" if call.tool.named else "tool_calls"
        return example(call.tool.parameters), tokens.count(call.tool.name), finish
    if not call.json:
        return tokens.words(wanted, seed), 0, "stop"
    if call.schema is not None:
        return example(call.schema), 0, "stop"
    return any_json(wanted, seed), 0, "stop"


def read_chat_call(asked: Asked) -> ChatCall:
    """Read what was asked."""
    return read_chat(asked.body, may_direct=asked.may_direct)


def say_chat(asked: Asked, call: ChatCall, wish: Directive) -> Said:
    """The answer, whole or as a stream."""
    answer = compose(
        call,
        wish,
        answer_id=f"chatcmpl-{asked.request_id[-28:]}",
        created=int(time.time()),
        cached=seen_before(asked, call.prompt, call.model),
        tokens_wanted=asked.tokens,
    )
    asked.charge.begin(
        answer.name, answer.rates, answer.prompt_tokens, tier=answer.tier, cached=answer.cached
    )
    if call.stream:
        fault = asked.dialect.fault(asked.request_id)
        told = events(answer, wish, include_usage=call.include_usage, obfuscate=call.obfuscate, fault=fault)
        return Stream(told, answer)
    return whole(asked, answer, wish)
