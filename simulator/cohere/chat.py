"""`POST /v2/chat`: what is asked, and the whole answer to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from simulator import tokens
from simulator.cache import seen_before
from simulator.cohere.events import events
from simulator.cohere.models import KNOWN, read_model
from simulator.cohere.prompt import PREAMBLE, read_prompt
from simulator.dialect import Asked, Said, Stream, whole
from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal
from simulator.models import Model
from simulator.pieces import cut, example
from simulator.prompt import Prompt

PLAN = "I will use one or more of the available tools to find the answer"
SPECIAL = 2
"""Output tokens that Cohere counts and does not bill."""


@dataclass(frozen=True, slots=True)
class CohereCall:
    """One checked request. `tool` is the function that the answer calls: its name and its parameters."""

    model: Model
    prompt: Prompt
    stream: bool
    maximum: int | None
    tool: tuple[str, Any] | None
    json: bool
    schema: Any
    directive: Directive


@dataclass(frozen=True, slots=True)
class CohereAnswer:
    """A whole answer. Every piece is one token: of the text, or of the tool's arguments after `plan`."""

    id: str
    billed_input: int
    cached: int
    plan: list[str]
    pieces: list[str]
    tool: str | None
    name_tokens: int
    finish: str

    reasoning = 0
    hidden = 0

    @property
    def completion_tokens(self) -> int:
        """Output tokens that are paid for."""
        return len(self.plan) + self.name_tokens + len(self.pieces)

    @property
    def call_id(self) -> str:
        """The tool call's id."""
        return f"{self.tool}_{self.id[-12:]}"

    def usage(self) -> dict[str, Any]:
        """Usage as Cohere reports it: billed, and in all."""
        usage: dict[str, Any] = {
            "billed_units": {"input_tokens": self.billed_input, "output_tokens": self.completion_tokens},
            "tokens": {
                "input_tokens": PREAMBLE + self.billed_input,
                "output_tokens": self.completion_tokens + SPECIAL,
            },
        }
        if self.cached:
            usage["cached_tokens"] = self.cached
        return usage

    def call(self, arguments: str) -> dict[str, Any]:
        """The tool call."""
        function = {"name": self.tool, "arguments": arguments}
        return {"id": self.call_id, "type": "function", "function": function}

    def document(self, *, usage: bool) -> bytes:
        """The answer's body."""
        text = "".join(self.pieces)
        message: dict[str, Any] = {"role": "assistant"}
        if self.tool is None:
            message["content"] = [{"type": "text", "text": text}]
        else:
            message["tool_calls"] = [self.call(text)]
            message["tool_plan"] = "".join(self.plan)
        document: dict[str, Any] = {"id": self.id, "message": message, "finish_reason": self.finish}
        if usage:
            document["usage"] = self.usage()
        return orjson.dumps(document)


def read_chat(asked: Asked) -> CohereCall:
    """Read a request. Raises Refusal on what Cohere would refuse."""
    body = asked.body
    model = read_model(body, "chat")
    prompt = read_prompt(body, model)
    maximum = body.get("max_tokens")
    if maximum is not None and (type(maximum) is not int or not 1 <= maximum <= model.max_output):
        raise Refusal(400, f"invalid request: max_tokens must be between 1 and {model.max_output}")
    shape = body.get("response_format") or {}
    if body.get("tools") and shape.get("type") == "json_object":
        raise Refusal(400, "invalid request: cannot specify both response_format json_object and tools")
    return CohereCall(
        model=model,
        prompt=prompt,
        stream=body.get("stream") is True,
        maximum=maximum,
        tool=_tool(body, prompt),
        json=shape.get("type") == "json_object",
        schema=shape.get("json_schema") or shape.get("schema"),
        directive=wished(prompt.last_user) if asked.may_direct else NONE,
    )


def _tool(body: dict[str, Any], prompt: Prompt) -> tuple[str, Any] | None:
    """The function to call: the first, unless a tool has just answered; then only when one is demanded."""
    functions = [
        function
        for tool in body.get("tools") or ()
        if isinstance(function := tool.get("function"), dict) and isinstance(function.get("name"), str)
    ]
    choice = body.get("tool_choice")
    if choice not in (None, "REQUIRED", "NONE"):
        raise Refusal(400, "invalid request: tool_choice must be REQUIRED or NONE")
    if choice == "REQUIRED" and not functions:
        raise Refusal(400, "invalid request: tool_choice REQUIRED needs at least one tool")
    if not functions or choice == "NONE" or (choice is None and prompt.ends_with_tool):
        return None
    return functions[0]["name"], functions[0].get("parameters") or {}


def compose(call: CohereCall, wish: Directive, *, answer_id: str, cached: int, usual: int) -> CohereAnswer:
    """Decide the whole answer to `call`; `usual` is its length without a directive."""
    plan: list[str] = []
    name_tokens = 0
    finish = "COMPLETE"
    if call.tool is not None:
        name, parameters = call.tool
        plan, name_tokens, finish = tokens.split(PLAN), tokens.count(name), "TOOL_CALL"
        pieces = example(parameters)
    elif call.json:
        shape = call.schema or {"type": "object", "required": ["answer"]}
        pieces = example(shape)
    else:
        seed = crc32(call.prompt.last_user.encode())
        pieces = tokens.words(usual if wish.tokens is None else wish.tokens, seed)
    maximum = call.model.max_output if call.maximum is None else call.maximum
    if not wish.ignore_max and (left := cut(maximum, len(plan), name_tokens, pieces)) is not None:
        finish = "MAX_TOKENS"
        planned, name_tokens, pieces = left
        plan = plan[:planned]
    return CohereAnswer(
        id=answer_id,
        billed_input=call.prompt.total,
        cached=cached if wish.cached is None else min(wish.cached, PREAMBLE + call.prompt.total),
        plan=plan,
        pieces=pieces,
        tool=call.tool[0] if call.tool else None,
        name_tokens=name_tokens,
        finish=finish,
    )


def say_chat(asked: Asked, call: CohereCall, wish: Directive) -> Said:
    """The answer, whole or as a stream."""
    model = wish.serving(KNOWN, call.model)
    cached = seen_before(asked, call.prompt, call.model)
    answer = compose(call, wish, answer_id=asked.request_id, cached=cached, usual=asked.tokens)
    asked.charge.begin(model.snapshot, model.tiers["default"], answer.billed_input)
    if call.stream:
        return Stream(events(answer, wish), answer)
    return whole(asked, answer, wish)
