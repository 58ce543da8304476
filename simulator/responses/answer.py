"""What is answered: items in order, what they cost, and the `response` object at every stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from zlib import crc32

from simulator import tokens
from simulator.directive import HALFWAY, Directive
from simulator.models import KNOWN, Model, Rates
from simulator.pieces import Pieces, any_json, cut, example
from simulator.responses.request import ResponseCall

SEARCH_FEE = Fraction(10, 1_000)
"""Dollars for one search of the web (https://platform.openai.com/docs/pricing, built-in tools)."""
FOUND_TOKENS = 500
"""Input tokens of what one search found: they come on top of the prompt."""
QUERY = "simulated provider"
PAGE = {"title": "A simulated page", "url": "https://example.com/"}
SUMMARY = "**Thinking**\n\nThe simulated provider thought about it."
FAULT = "The server had an error while processing your request."


@dataclass(frozen=True, slots=True)
class ResponseAnswer(Pieces):
    """A whole answer, decided before its first byte leaves. Every piece is one token.

    `pieces` are the text, or the function's arguments when `tool` is its name; the name's own pieces are
    `name_tokens`. `fails_after` is the number of events with content after which all ends in an error. `cut`
    says that the maximum ended it.
    """

    id: str
    created: int
    model: Model
    tier: str
    rates: Rates
    background: bool
    summarize: bool
    encrypt: bool
    prompt_tokens: int
    cached: int
    reasoning: int
    searches: int
    pieces: list[str]
    tool: str | None
    name_tokens: int
    cut: bool
    fails_after: int | None
    fault_code: str
    echo: dict[str, Any]
    metadata: dict[str, Any]

    @property
    def contents(self) -> int:
        """Events with content: the name of a function is one of them."""
        return len(self.pieces) + (self.tool is not None)

    @property
    def made_tokens(self) -> int:
        """Output tokens that are made before the answer ends or fails."""
        if self.fails_after is None or self.fails_after >= self.contents:
            return self.completion_tokens
        if self.tool is None or not self.fails_after:
            return self.reasoning + self.fails_after
        return self.reasoning + self.name_tokens + self.fails_after - 1

    @property
    def input_tokens(self) -> int:
        """Input tokens, with what was searched for."""
        return self.prompt_tokens + self.searches * FOUND_TOKENS

    @property
    def outcome(self) -> str:
        """The status that it ends with."""
        if self.fails_after is not None:
            return "failed"
        return "incomplete" if self.cut else "completed"

    @property
    def item_status(self) -> str:
        """The status of the item that a maximum cuts."""
        return "incomplete" if self.cut else "completed"

    def named(self, prefix: str, number: int = 0) -> str:
        """The id of one of its items."""
        return f"{prefix}_{self.id.removeprefix('resp_')}{number:02x}"

    def usage(self) -> dict[str, Any]:
        """Usage as OpenAI reports it."""
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": self.cached},
            "output_tokens": self.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input_tokens + self.completion_tokens,
        }

    def document(self, status: str, *, usage: bool = True) -> dict[str, Any]:
        """The `response` object at that status; output and usage are there when it is over."""
        over = status in ("completed", "incomplete")
        failed = {"code": self.fault_code, "message": FAULT}
        rest = {
            **self.echo,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self.model.snapshot,
            "output": list(self.items()) if over else [],
            "service_tier": self.tier if over else "auto",
            "tool_usage": {"web_search": {"num_requests": self.searches if over else 0}},
            "usage": self.usage() if over and usage else None,
        }
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": self.background,
            "completed_at": self.created if status == "completed" else None,
            "error": failed if status == "failed" else None,
            **dict(sorted(rest.items())),
            "metadata": self.metadata,
        }

    def items(self) -> Iterator[dict[str, Any]]:
        """What was thought, searched and said."""
        if self.reasoning:
            yield self.thought()
        for number in range(self.searches):
            yield self.search(number)
        yield self.call(self.item_status) if self.tool is not None else self.message(self.item_status)

    def thought(self) -> dict[str, Any]:
        """The item that stands for hidden tokens."""
        summary = [{"type": "summary_text", "text": SUMMARY}] if self.summarize else []
        item: dict[str, Any] = {"id": self.named("rs"), "type": "reasoning", "summary": summary}
        if self.encrypt:
            item["encrypted_content"] = f"gAAAAAB{self.id.removeprefix('resp_')}=="
        return item

    def search(self, number: int) -> dict[str, Any]:
        """The item of a search that has been made."""
        action = {"type": "search", "queries": [QUERY], "query": QUERY}
        named = self.named("ws", number)
        return {"id": named, "type": "web_search_call", "status": "completed", "action": action}

    def call(self, status: str) -> dict[str, Any]:
        """The item that calls a function; its arguments come once it is not in progress any more."""
        return {
            "id": self.named("fc"),
            "type": "function_call",
            "status": status,
            "arguments": "" if status == "in_progress" else "".join(self.pieces),
            "call_id": f"call_{self.id[-24:]}",
            "name": self.tool,
        }

    def message(self, status: str) -> dict[str, Any]:
        """The item with the text; its content comes once it is not in progress any more."""
        content = [] if status == "in_progress" else [self.part("".join(self.pieces))]
        named = self.named("msg")
        return {"id": named, "type": "message", "status": status, "content": content, "role": "assistant"}

    def part(self, text: str) -> dict[str, Any]:
        """The part of the message that is text."""
        annotations = [self.annotation(len(text))] if self.searches and text else []
        return {"type": "output_text", "annotations": annotations, "logprobs": [], "text": text}

    def annotation(self, length: int) -> dict[str, Any]:
        """What a search found, cited for the whole text."""
        return {"type": "url_citation", "end_index": length, "start_index": 0, **PAGE}


def compose(
    call: ResponseCall, wish: Directive, *, answer_id: str, created: int, cached: int, usual: int
) -> ResponseAnswer:
    """Decide the whole answer to `call` under the directive in force.

    `usual` is the length of a text without a directive; `cached` what the prompt cache knows.
    """
    model = wish.serving(KNOWN, call.model)
    pieces, name_tokens = _said(call, usual if wish.tokens is None else wish.tokens)
    reasoning = call.effort
    if wish.reasoning is not None and call.model.reasoning:
        reasoning = wish.reasoning
    maximum = min(call.model.max_output, call.model.context - call.prompt.total)
    if call.maximum is not None:
        maximum = min(maximum, call.maximum)
    left = None if wish.ignore_max else cut(maximum, reasoning, name_tokens, pieces)
    if left is not None:
        reasoning, name_tokens, pieces = left
    tool = call.tool.name if call.tool and name_tokens else None
    searches = call.searches if wish.searches is None else min(wish.searches, call.most_searches)
    fails_after = wish.error_in_stream
    if fails_after == HALFWAY:
        fails_after = (len(pieces) + (tool is not None) + 1) // 2
    tier = model.served_tier(wish.tier or call.tier)
    return ResponseAnswer(
        id=answer_id,
        created=created,
        model=model,
        tier=tier,
        rates=model.rates(tier, call.prompt.total + searches * FOUND_TOKENS),
        background=call.background,
        summarize=call.summarize,
        encrypt=call.encrypt,
        prompt_tokens=call.prompt.total,
        cached=cached if wish.cached is None else min(wish.cached, call.prompt.total),
        reasoning=reasoning,
        searches=searches,
        pieces=pieces,
        tool=tool,
        name_tokens=name_tokens,
        cut=left is not None,
        fails_after=fails_after,
        fault_code=wish.code or "server_error",
        echo=call.echo,
        metadata=call.metadata,
    )


def _said(call: ResponseCall, wanted: int) -> tuple[list[str], int]:
    """The pieces before any maximum, and the tokens of the function's name."""
    seed = crc32(call.prompt.last_user.encode())
    if call.tool is not None:
        return example(call.tool.parameters), tokens.count(call.tool.name)
    if not call.json:
        return tokens.words(wanted, seed), 0
    if call.schema is not None:
        return example(call.schema), 0
    return any_json(wanted, seed), 0
