"""What a request to generate content asks for, read and checked the way Google does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.chat import Tool
from simulator.dialect import Asked
from simulator.directive import NONE, Directive, wished
from simulator.gemini.dialect import Google, part, unknown_model, wrong
from simulator.gemini.models import GEMINIS, Gemini
from simulator.gemini.prompt import Said, read_said

FIELDS = frozenset((
    "contents", "systemInstruction", "system_instruction", "tools", "toolConfig", "tool_config",
    "safetySettings", "safety_settings", "generationConfig", "generation_config", "cachedContent",
    "cached_content", "serviceTier", "service_tier", "labels", "model", "modelArmorConfig", "store",
))  # fmt: skip
LEVELS = {"minimal": 0, "low": 64, "medium": 128, "high": 256}
"""Thoughts of each thinking level, in tokens."""
BUDGET_MAX = 32_768
TIERS = ("unspecified", "standard", "flex", "priority")


@dataclass(frozen=True, slots=True)
class GenerateCall:
    """One checked request. `thoughts` is what the model thinks without a directive, in tokens."""

    gemini: Gemini
    said: Said
    vertex: bool
    maximum: int | None
    thoughts: int
    show_thoughts: bool
    tier: str
    tool: Tool | None
    json: bool
    schema: Any
    may_search: bool
    directive: Directive


def read_generate(asked: Asked) -> GenerateCall:
    """Read a request. Raises Refusal on what Google would refuse."""
    body = asked.body
    gemini = GEMINIS.get(asked.names["model"])
    if gemini is None or gemini.model.kind != "chat":
        raise unknown_model(asked.names["model"], "generateContent")
    for name in body:
        if name not in FIELDS:
            raise wrong(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.', name)
    config = part(body, "generationConfig") or {}
    said = read_said(body, signs=gemini.signs)
    if said.prompt.total > gemini.model.context:
        raise wrong(
            f"The input token count ({said.prompt.total}) exceeds the maximum number of tokens allowed "
            f"({gemini.model.context})."
        )
    if part(body, "cachedContent") is not None:
        raise wrong("CachedContent not found (or permission denied)", "cached_content")
    tier = str(part(body, "serviceTier") or "standard").lower()
    if tier not in TIERS:
        raise wrong(f"Invalid value at 'service_tier': \"{tier}\"", "service_tier")
    thoughts, shown = _thoughts(part(config, "thinkingConfig") or {}, gemini)
    mime = part(config, "responseMimeType")
    schema = part(config, "responseJsonSchema") or part(config, "responseSchema")
    if schema is not None and mime not in ("application/json", "text/x.enum"):
        raise wrong(f"Response schema is not supported with a response mime type: '{mime or 'text/plain'}'")
    tools = body.get("tools") or ()
    return GenerateCall(
        gemini=gemini,
        said=said,
        vertex=isinstance(asked.dialect, Google) and asked.dialect.vertex,
        maximum=_maximum(config, gemini),
        thoughts=thoughts,
        show_thoughts=shown,
        tier="standard" if tier == "unspecified" else tier,
        tool=_tool(body, said),
        json=mime == "application/json",
        schema=None if schema is None else lowered(schema),
        may_search=any(part(tool, "googleSearch") is not None for tool in tools),
        directive=wished(said.prompt.last_user) if asked.may_direct else NONE,
    )


def lowered(schema: Any) -> Any:
    """A schema with its types in lower case: Google's own have them in capitals."""
    if isinstance(schema, list):
        return [lowered(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: value.lower() if name == "type" and isinstance(value, str) else lowered(value)
        for name, value in schema.items()
    }


def _maximum(config: Any, gemini: Gemini) -> int | None:
    value = part(config, "maxOutputTokens")
    if value is None:
        return None
    most = gemini.model.max_output
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise wrong(
            f"Unable to submit request because it has a maxOutputTokens value of {value} but the supported "
            f"range is from 1 (inclusive) to {most + 1} (exclusive). Update the value and try again.",
            "generation_config.max_output_tokens",
        )
    return value


def _thoughts(config: Any, gemini: Gemini) -> tuple[int, bool]:
    """Thoughts in tokens, and whether a summary of them is shown."""
    budget, level = part(config, "thinkingBudget"), part(config, "thinkingLevel")
    if budget is not None and level is not None:
        raise wrong("You can only set one of thinking budget and thinking level.", "thinking_config")
    thoughts = gemini.usual_thoughts
    if level is not None:
        name = str(level).lower()
        if not gemini.signs or name not in LEVELS:
            raise wrong("Thinking level is not supported for this model.", "thinking_config.thinking_level")
        thoughts = LEVELS[name]
    if budget is not None:
        if not isinstance(budget, int) or not -1 <= budget <= BUDGET_MAX:
            raise wrong(f"The thinking budget {budget} is invalid.", "thinking_config.thinking_budget")
        if budget == 0 and gemini.must_think:
            raise wrong("Budget 0 is invalid. This model only works in thinking mode.")
        thoughts = LEVELS["medium"] if budget == -1 else min(budget, LEVELS["high"])
    return thoughts, bool(part(config, "includeThoughts"))


def _tool(body: dict[str, Any], said: Said) -> Tool | None:
    """The function to call: none when a function has just answered, unless the request insists."""
    functions = [
        each for tool in body.get("tools") or () for each in part(tool, "functionDeclarations") or ()
    ]
    config = part(part(body, "toolConfig") or {}, "functionCallingConfig") or {}
    mode = str(part(config, "mode") or "AUTO").upper()
    if mode not in ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"):
        raise wrong(f"Invalid value at 'tool_config.function_calling_config.mode': \"{mode}\"")
    allowed = part(config, "allowedFunctionNames")
    if allowed:
        functions = [each for each in functions if each.get("name") in allowed]
        if not functions:
            raise wrong("allowed_function_names must be a subset of the declared functions.")
    if not functions or mode == "NONE" or (mode != "ANY" and said.prompt.ends_with_tool):
        return None
    chosen = functions[0]
    schema = part(chosen, "parametersJsonSchema") or part(chosen, "parameters") or {}
    return Tool(str(chosen.get("name")), lowered(schema), named=False)


@dataclass(frozen=True, slots=True)
class CountCall:
    """A request to count tokens."""

    said: Said
    directive: Directive


def read_count(asked: Asked) -> CountCall:
    """Read a request to count. Raises Refusal on what Google would refuse."""
    gemini = GEMINIS.get(asked.names["model"])
    if gemini is None or gemini.model.kind != "chat":
        raise unknown_model(asked.names["model"], "countTokens")
    said = read_said(part(asked.body, "generateContentRequest") or asked.body, signs=False)
    return CountCall(said, wished(said.prompt.last_user) if asked.may_direct else NONE)
