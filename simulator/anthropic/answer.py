"""What is answered to a message request: its blocks, its tokens, its usage and its whole document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from simulator import tokens
from simulator.anthropic.cache import Cached, MarkedCache
from simulator.anthropic.events import QUERY, SEARCH_PIECES, events
from simulator.anthropic.messages import CountCall, MessagesCall
from simulator.anthropic.models import CLAUDES, KNOWN, SEARCH, Claude, uplifted
from simulator.anthropic.prompt import signature
from simulator.dialect import Asked, Said, Stream, Whole, whole
from simulator.directive import Directive
from simulator.models import Rates
from simulator.pieces import example
from simulator.replies import json_reply

RESULT_TOKENS = 500
"""Input tokens of what one search found: they come on top of the prompt."""
SUMMARY = 4
"""Thinking is shown as a summary: one token for so many."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, decided before its first byte leaves. Every piece is one token.

    `pieces` are the text, or the tool's arguments when `tool` is its name; the name's own pieces are
    `name_tokens`. `prompt_tokens` are those of the request, without what searches found.
    """

    id: str
    claude: Claude
    tier: str
    rates: Rates
    geo: str
    fast: bool
    prompt_tokens: int
    cached: Cached
    reasoning: int
    shown: list[str]
    may_search: bool
    searches: int
    pieces: list[str]
    tool: str | None
    name_tokens: int
    stop: str

    hidden = 0

    @property
    def completion_tokens(self) -> int:
        """Output tokens that are paid for."""
        return self.reasoning + self.searches * len(SEARCH_PIECES) + self.name_tokens + len(self.pieces)

    @property
    def input_tokens(self) -> int:
        """Input tokens that the cache has nothing to do with, before any search."""
        return self.prompt_tokens - self.cached.read - self.cached.written_5m - self.cached.written_1h

    @property
    def found_tokens(self) -> int:
        """Input tokens of what the searches found."""
        return self.searches * RESULT_TOKENS

    def first_usage(self) -> dict[str, Any]:
        """Usage as a stream begins with it: one output token, and nothing that was searched for."""
        return self._usage(self.input_tokens, min(1, self.completion_tokens))

    def usage(self) -> dict[str, Any]:
        """Usage of the whole message."""
        whole = self._usage(self.input_tokens + self.found_tokens, self.completion_tokens)
        return {**whole, **self._details()}

    def last_usage(self) -> dict[str, Any]:
        """Usage as a stream ends with it: cumulative, without what cannot change."""
        usage = {
            "input_tokens": self.input_tokens + self.found_tokens,
            "cache_creation_input_tokens": self.cached.written_5m + self.cached.written_1h,
            "cache_read_input_tokens": self.cached.read,
            "output_tokens": self.completion_tokens,
        }
        return {**usage, **self._details()}

    def head(self) -> dict[str, Any]:
        """The message without its content."""
        return {
            "model": self.claude.model.snapshot,
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
        }

    def document(self, *, usage: bool = True) -> bytes:
        """The `message` object."""
        document = {**self.head(), "content": self.blocks(), "stop_reason": self.stop}
        if usage:
            document["usage"] = self.usage()
        return orjson.dumps(document)

    def blocks(self) -> list[dict[str, Any]]:
        """The content: what was thought, searched and said."""
        blocks: list[dict[str, Any]] = []
        if self.reasoning:
            thought = "".join(self.shown)
            blocks.append({"type": "thinking", "thinking": thought, "signature": signature(thought)})
        for number in range(self.searches):
            blocks += [self.search(number, orjson.loads(QUERY)), self.found(number)]
        said = "".join(self.pieces)
        if self.tool is not None:
            blocks.append(self.call(orjson.loads(said) if self.stop == "tool_use" else {}))
        elif self.pieces:
            blocks.append({"type": "text", "text": said})
        return blocks

    def call(self, arguments: Any) -> dict[str, Any]:
        """The block that calls the client's tool."""
        return {
            "type": "tool_use",
            "id": f"toolu_01{self.id[-20:]}",
            "name": self.tool,
            "input": arguments,
            "caller": {"type": "direct"},
        }

    def search(self, number: int, arguments: Any) -> dict[str, Any]:
        """The block that asks for a search."""
        return {
            "type": "server_tool_use",
            "id": f"srvtoolu_{number:02}{self.id[-20:]}",
            "name": "web_search",
            "input": arguments,
        }

    def found(self, number: int) -> dict[str, Any]:
        """The block with what a search found."""
        page = {
            "type": "web_search_result",
            "title": "A simulated page",
            "url": "https://example.com/",
            "encrypted_content": signature(f"page {number}"),
            "page_age": None,
        }
        name = f"srvtoolu_{number:02}{self.id[-20:]}"
        return {"type": "web_search_tool_result", "tool_use_id": name, "content": [page]}

    def _usage(self, input_tokens: int, output_tokens: int) -> dict[str, Any]:
        usage = {
            "input_tokens": input_tokens,
            "cache_creation_input_tokens": self.cached.written_5m + self.cached.written_1h,
            "cache_read_input_tokens": self.cached.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.cached.written_5m,
                "ephemeral_1h_input_tokens": self.cached.written_1h,
            },
            "output_tokens": output_tokens,
            "service_tier": self.tier,
            "inference_geo": self.geo,
        }
        if self.fast:
            usage["speed"] = "fast"
        return usage

    def _details(self) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self.reasoning or self.claude.thinks:
            details["output_tokens_details"] = {"thinking_tokens": self.reasoning}
        if self.may_search:
            details["server_tool_use"] = {"web_search_requests": self.searches, "web_fetch_requests": 0}
        return details


def compose(
    call: MessagesCall, wish: Directive, *, answer_id: str, cached: Cached, tokens_wanted: int
) -> Answer:
    """Decide the whole answer to `call` under the directive in force.

    `tokens_wanted` is the length without a directive; `cached` what the prompt cache knows.
    """
    prompt = call.blocks.prompt
    wanted = tokens_wanted if wish.tokens is None else wish.tokens
    claude = CLAUDES[wish.serving(KNOWN, call.claude.model).id]
    pieces, name_tokens, stop = _said(call, wanted)
    thinking = call.thinking if wish.reasoning is None else wish.reasoning
    searches = 0
    if call.may_search:
        searches = (0 if call.tool else 1) if wish.searches is None else wish.searches
    room = max(0, claude.model.context - prompt.total)
    maximum, cut = (call.maximum, "max_tokens")
    if room < maximum and not call.claude.beta_context:
        maximum, cut = room, "model_context_window_exceeded"
    if not wish.ignore_max:
        thinking = min(thinking, maximum)
        searches = min(searches, (maximum - thinking) // len(SEARCH_PIECES))
        left = maximum - thinking - searches * len(SEARCH_PIECES)
        if name_tokens + len(pieces) > left:
            name_tokens = min(name_tokens, left)
            pieces, stop = pieces[: left - name_tokens], cut
    known = cached if wish.cached is None else Cached(read=min(wish.cached, prompt.total))
    fast = call.fast and "fast" in claude.model.tiers
    tier = claude.model.served_tier(wish.tier or "standard")
    rates = claude.model.rates("fast" if fast else tier, prompt.total + searches * RESULT_TOKENS)
    in_us = call.in_us and claude.regional
    shown = -(-thinking // SUMMARY) if call.show_thinking else 0
    return Answer(
        id=answer_id,
        claude=claude,
        tier=tier,
        rates=uplifted(rates) if in_us else rates,
        geo=("us" if in_us else "global") if claude.regional else "not_available",
        fast=fast,
        prompt_tokens=prompt.total,
        cached=known,
        reasoning=thinking,
        shown=tokens.words(shown, crc32(prompt.last_user.encode()) + 1),
        may_search=call.may_search,
        searches=searches,
        pieces=pieces,
        tool=call.tool.name if call.tool and name_tokens else None,
        name_tokens=name_tokens,
        stop=stop,
    )


def _said(call: MessagesCall, wanted: int) -> tuple[list[str], int, str]:
    """The pieces before any maximum, the tokens of the tool's name, and the reason to stop."""
    if call.tool is not None:
        return example(call.tool.parameters), tokens.count(call.tool.name), "tool_use"
    if call.schema is not None:
        return example(call.schema), 0, "end_turn"
    return tokens.words(wanted, crc32(call.blocks.prompt.last_user.encode())), 0, "end_turn"


def say_messages(asked: Asked, call: MessagesCall, wish: Directive) -> Said:
    """The message, whole or as a stream."""
    model = call.claude.model
    kept = asked.memory.of(MarkedCache)
    answer = compose(
        call,
        wish,
        answer_id=f"msg_01{asked.request_id[-22:]}",
        cached=kept.lookup(call.blocks, f"{asked.credential} {model.id}", call.claude.cache_from),
        tokens_wanted=asked.tokens,
    )
    asked.charge.begin(
        answer.claude.model.snapshot,
        answer.rates,
        answer.prompt_tokens + answer.found_tokens,
        tier=answer.tier,
        cached=answer.cached.read,
        written_5m=answer.cached.written_5m,
        written_1h=answer.cached.written_1h,
        searches=answer.searches,
        fees=answer.searches * SEARCH,
    )
    if call.stream:
        return Stream(events(answer, wish, asked.dialect.fault(asked.request_id)), answer)
    return whole(asked, answer, wish)


def say_count(asked: Asked, call: CountCall, wish: Directive) -> Whole:
    """The number of input tokens. Counting costs nothing."""
    return Whole(json_reply({"input_tokens": call.input_tokens}))
