"""`POST /model/{id}/converse` and `/converse-stream`: what is asked, and the whole answer to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from zlib import crc32

import orjson

from simulator import tokens
from simulator.bedrock.cache import Cached, PointCache
from simulator.bedrock.events import SIGNATURE, events
from simulator.bedrock.frames import EVENT_STREAM
from simulator.bedrock.models import KNOWN, nature_of, read_model
from simulator.bedrock.prompt import Conversation, read_conversation
from simulator.dialect import Asked, Said, Stream, Whole, whole
from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal
from simulator.models import Model
from simulator.pieces import Pieces, cut, example
from simulator.prompt import Prompt

EFFORT = {"minimal": 0, "low": 64, "medium": 128, "high": 256}
LEAST_BUDGET = 1_024
REDACTED = "[REDACTED]"


@dataclass(frozen=True, slots=True)
class ConverseCall:
    """One checked request. `thinking` are the tokens thought before the answer, None where none may be."""

    model: Model
    said: Conversation
    maximum: int
    thinking: int | None
    tool: tuple[str, Any] | None
    schema: Any
    directive: Directive


@dataclass(frozen=True, slots=True)
class ConverseAnswer(Pieces):
    """A whole answer. Every piece is one token: of the text, or of the tool's input where `tool` is its name.

    `reasoning` tokens come first. `thoughts` are those of them that are shown, `signed` where they carry a
    signature; where they are not shown, a word stands for them.
    """

    id: str
    model: Model
    input_tokens: int
    cache: Cached
    tells_cache: bool
    signed: bool
    reasoning: int
    thoughts: list[str]
    pieces: list[str]
    tool: str | None
    name_tokens: int
    finish: str

    @property
    def hidden(self) -> int:
        """Output tokens that are never seen."""
        return self.reasoning - len(self.thoughts)

    @property
    def tool_use_id(self) -> str:
        """The tool use's id."""
        return f"tooluse_{self.id[-12:]}"

    @property
    def thought(self) -> str:
        """What is shown of the thoughts; empty without any."""
        return REDACTED if self.hidden else "".join(self.thoughts)

    def usage(self) -> dict[str, Any]:
        """Usage as Bedrock reports it: what the cache read and wrote is beside the input, not inside it."""
        cache = self.cache
        usage: dict[str, Any] = {}
        if self.tells_cache:
            usage = {
                "cacheReadInputTokenCount": cache.read,
                "cacheReadInputTokens": cache.read,
                "cacheWriteInputTokenCount": cache.written,
                "cacheWriteInputTokens": cache.written,
            }
            written = (("5m", cache.written_5m), ("1h", cache.written_1h))
            if cache.written:
                usage["cacheDetails"] = [{"ttl": ttl, "inputTokens": size} for ttl, size in written if size]
        return usage | {
            "inputTokens": self.input_tokens - cache.read - cache.written,
            "outputTokens": self.completion_tokens,
            "serverToolUsage": {},
            "totalTokens": self.input_tokens + self.completion_tokens,
        }

    def metrics(self) -> dict[str, int]:
        """A millisecond for each token."""
        return {"latencyMs": max(1, self.completion_tokens)}

    def document(self, *, usage: bool) -> bytes:
        """The answer's body."""
        content: list[dict[str, Any]] = []
        if self.thought:
            shown = {"text": self.thought}
            if self.signed:
                shown["signature"] = SIGNATURE
            content.append({"reasoningContent": {"reasoningText": shown}})
        text = "".join(self.pieces)
        if self.tool is not None:
            given = orjson.loads(text) if self.finish == "tool_use" else {}
            content.append({"toolUse": {"toolUseId": self.tool_use_id, "name": self.tool, "input": given}})
        elif self.pieces:
            content.append({"text": text})
        document: dict[str, Any] = {
            "metrics": self.metrics(),
            "output": {"message": {"content": content, "role": "assistant"}},
            "stopReason": self.finish,
        }
        if usage:
            document["usage"] = self.usage()
        return orjson.dumps(document)


def read_converse(asked: Asked) -> ConverseCall:
    """Read a request. Raises Refusal on what Bedrock would refuse."""
    body = asked.body
    model = read_model(asked.names["model"])
    said = read_conversation(body, model)
    shape = ((body.get("outputConfig") or {}).get("textFormat") or {}).get("structure") or {}
    wanted = (shape.get("jsonSchema") or {}).get("schema")
    maximum = (body.get("inferenceConfig") or {}).get("maxTokens")
    if maximum is not None and (type(maximum) is not int or maximum < 1):
        raise Refusal(400, "The maxTokens field must be a whole number above 0.")
    if maximum is not None and maximum > model.max_output:
        raise Refusal(
            400,
            f"The maximum tokens you requested exceeds the model limit of {model.max_output}. Try again with "
            f"a maximum tokens value that is lower than {model.max_output}.",
        )
    return ConverseCall(
        model=model,
        said=said,
        maximum=model.max_output if maximum is None else maximum,
        thinking=_thinking(body, model),
        tool=_tool(body, said.prompt),
        schema=None if wanted is None else orjson.loads(wanted),
        directive=wished(said.prompt.last_user) if asked.may_direct else NONE,
    )


def _thinking(body: dict[str, Any], model: Model) -> int | None:
    """How long a model thinks: as its maker's own field says, or always where it cannot but think."""
    nature = nature_of(model)
    more = body.get("additionalModelRequestFields") or {}
    if nature.thinks == "always":
        return EFFORT[more.get("reasoning_effort") or "medium"]
    if nature.thinks == "asked" and not nature.shows:
        asked = more.get("reasoningConfig") or {}
        return EFFORT[asked.get("maxReasoningEffort") or "low"] if asked.get("type") == "enabled" else None
    asked = more.get("thinking") or {}
    if nature.thinks == "never" or asked.get("type") not in ("enabled", "adaptive"):
        return None
    budget = asked.get("budget_tokens")
    if asked["type"] == "enabled" and (type(budget) is not int or budget < LEAST_BUDGET):
        raise Refusal(
            400,
            "The model returned the following errors: thinking.enabled.budget_tokens: Input should be "
            f"greater than or equal to {LEAST_BUDGET}",
        )
    return EFFORT["low"]


def _tool(body: dict[str, Any], prompt: Prompt) -> tuple[str, Any] | None:
    """The tool to use: none when one has just answered, unless the request insists."""
    config = body.get("toolConfig") or {}
    specs = [tool["toolSpec"] for tool in config.get("tools") or () if "toolSpec" in tool]
    choice = config.get("toolChoice") or {"auto": {}}
    if not specs or ("auto" in choice and prompt.ends_with_tool):
        return None
    name = (choice.get("tool") or {}).get("name", specs[0]["name"])
    for spec in specs:
        if spec["name"] == name:
            return name, (spec.get("inputSchema") or {}).get("json") or {}
    raise Refusal(400, f"The tool {name} that toolChoice names is not among the tools.")


def compose(
    call: ConverseCall, wish: Directive, cache: Cached, *, answer_id: str, usual: int
) -> ConverseAnswer:
    """Decide the whole answer to `call`; `usual` is the length of its text without a directive."""
    seed = crc32(call.said.prompt.last_user.encode())
    name_tokens, finish = 0, "end_turn"
    if call.tool is not None:
        name, parameters = call.tool
        name_tokens, finish = tokens.count(name), "tool_use"
        pieces = example(parameters)
    elif call.schema is not None:
        pieces = example(call.schema)
    else:
        pieces = tokens.words(usual if wish.tokens is None else wish.tokens, seed)
    reasoning = 0
    if call.thinking is not None:
        reasoning = call.thinking if wish.reasoning is None else wish.reasoning
    if not wish.ignore_max and (left := cut(call.maximum, reasoning, name_tokens, pieces)) is not None:
        finish = "max_tokens"
        reasoning, name_tokens, pieces = left
    nature = nature_of(call.model)
    if wish.cached is not None:
        cache = Cached(read=min(wish.cached, call.said.prompt.total))
    return ConverseAnswer(
        id=answer_id,
        model=wish.serving(KNOWN, call.model),
        input_tokens=call.said.prompt.total,
        cache=cache,
        tells_cache=nature.anthropic or bool(call.said.points),
        signed=nature.anthropic,
        reasoning=reasoning,
        thoughts=tokens.words(reasoning, seed + 1) if nature.shows else [],
        pieces=pieces,
        tool=call.tool[0] if call.tool and name_tokens else None,
        name_tokens=name_tokens,
        finish=finish,
    )


def _answer(asked: Asked, call: ConverseCall, wish: Directive) -> ConverseAnswer:
    """The answer, its prompt charged for."""
    cache = Cached()
    if call.said.points:
        cache = asked.memory.of(PointCache).lookup(
            call.said.prompt,
            call.said.points,
            f"{asked.credential} {call.model.id}",
            nature_of(call.model).caches_from,
        )
    answer = compose(call, wish, cache, answer_id=asked.request_id, usual=asked.tokens)
    asked.charge.begin(
        answer.model.id,
        answer.model.tiers["default"],
        answer.input_tokens,
        cached=answer.cache.read,
        written_5m=answer.cache.written_5m,
        written_1h=answer.cache.written_1h,
    )
    return answer


def say_converse(asked: Asked, call: ConverseCall, wish: Directive) -> Whole:
    """The answer as one document."""
    answer = _answer(asked, call, wish)
    return whole(asked, answer, wish)


def say_converse_stream(asked: Asked, call: ConverseCall, wish: Directive) -> Said:
    """The answer event by event."""
    answer = _answer(asked, call, wish)
    return Stream(events(answer, wish), answer, EVENT_STREAM)
