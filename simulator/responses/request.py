"""What a request to `/v1/responses` asks for, read and checked the way OpenAI does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from simulator.chat import EFFORT, TIERS, Tool, checked_maximum
from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal, missing, unknown_value, wrong_type
from simulator.models import KNOWN, Model
from simulator.prompt import PER_ANSWER, PER_MESSAGE, Prompt
from simulator.responses.items import add_items

LEAST_MAXIMUM = 16
SEARCHES_MAX = 128
SEARCH_TOOLS = ("web_search", "web_search_2025_08_26")
ENCRYPTED = "reasoning.encrypted_content"
_KINDS: tuple[tuple[str, type, str], ...] = (
    ("stream", bool, "a boolean"),
    ("background", bool, "a boolean"),
    ("store", bool, "a boolean"),
    ("tools", list, "an array of objects"),
    ("include", list, "an array of strings"),
    ("metadata", dict, "an object"),
    ("reasoning", dict, "an object"),
    ("text", dict, "an object"),
    ("stream_options", dict, "an object"),
    ("instructions", str, "a string"),
    ("previous_response_id", str, "a string"),
)


@dataclass(frozen=True, slots=True)
class ResponseCall:
    """One checked request.

    `context` are its items after those of all turns before. `effort` are the hidden tokens that the request
    asks for, `searches` how many searches of the web come before the answer, and
    `most_searches` how many of them there may be.
    """

    model: Model
    context: list[dict[str, Any]]
    prompt: Prompt
    stream: bool
    obfuscate: bool
    background: bool
    store: bool
    maximum: int | None
    tier: str
    effort: int
    summarize: bool
    encrypt: bool
    tool: Tool | None
    searches: int
    most_searches: int
    json: bool
    schema: Any
    echo: dict[str, Any]
    metadata: dict[str, Any]
    directive: Directive


def read_response(body: dict[str, Any], context: list[dict[str, Any]], *, may_direct: bool) -> ResponseCall:
    """Read a body whose `context` is known. Raises Refusal as OpenAI does."""
    model = _model(body)
    for name, kind, word in _KINDS:
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            raise wrong_type(name, word, value)
    if not context:
        raise missing("input")
    tier = body.get("service_tier") or "auto"
    if tier not in TIERS:
        raise unknown_value("service_tier", tier, TIERS)
    prompt = _prompt(body, context, model)
    shape = (body.get("text") or {}).get("format") or {}
    reasoning = body.get("reasoning") or {}
    tool = _tool(body, prompt)
    most_searches = _most_searches(body)
    background = bool(body.get("background"))
    return ResponseCall(
        model=model,
        context=context,
        prompt=prompt,
        stream=bool(body.get("stream")),
        obfuscate=(body.get("stream_options") or {}).get("include_obfuscation") is not False,
        background=background,
        store=body.get("store") is not False or background,
        maximum=checked_maximum(
            "max_output_tokens", body.get("max_output_tokens"), model, least=LEAST_MAXIMUM
        ),
        tier=tier,
        effort=_effort(reasoning, model),
        summarize=reasoning.get("summary") is not None,
        encrypt=ENCRYPTED in (body.get("include") or ()),
        tool=tool,
        searches=min(most_searches, 0 if tool else 1),
        most_searches=most_searches,
        json=shape.get("type") in ("json_object", "json_schema"),
        schema=shape.get("schema"),
        echo=_echo(body, model),
        metadata=body.get("metadata") or {},
        directive=_directive(body, prompt) if may_direct else NONE,
    )


def _model(body: dict[str, Any]) -> Model:
    name = body.get("model")
    if name is None:
        raise missing("model")
    if not isinstance(name, str):
        raise wrong_type("model", "a string", name)
    model = KNOWN.get(name)
    if model is None:
        raise Refusal(
            400, f"The requested model '{name}' does not exist.", code="model_not_found", param="model"
        )
    if model.kind != "chat":
        raise Refusal(400, f"The model '{name}' is not supported with the Responses API.", param="model")
    return model


def _prompt(body: dict[str, Any], context: list[dict[str, Any]], model: Model) -> Prompt:
    """Everything that is read before the answer; instructions are this request's own only."""
    prompt = Prompt()
    for tool in body.get("tools") or ():
        prompt.add(0, "tool", orjson.dumps(tool).decode())
    shape = (body.get("text") or {}).get("format") or {}
    if shape.get("type") == "json_schema":
        prompt.add(0, "schema", orjson.dumps(shape).decode())
    if instructions := body.get("instructions"):
        prompt.add(PER_MESSAGE, "developer", instructions)
    add_items(prompt, context, model)
    prompt.add(PER_ANSWER, "answer")
    if prompt.total > model.context:
        raise Refusal(
            400,
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            code="context_length_exceeded",
            param="input",
        )
    return prompt


def _effort(reasoning: dict[str, Any], model: Model) -> int:
    effort = reasoning.get("effort")
    if not model.reasoning:
        if effort not in (None, "none"):
            raise Refusal(
                400,
                "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
                code="unsupported_parameter",
                param="reasoning.effort",
            )
        return 0
    effort = effort or "medium"
    if effort not in EFFORT:
        raise unknown_value("reasoning.effort", effort, EFFORT)
    return EFFORT[effort]


def _most_searches(body: dict[str, Any]) -> int:
    """How many searches of the web there may be: none without the tool, or where it may not be used."""
    tools = body.get("tools") or ()
    if body.get("tool_choice") == "none" or not any(tool["type"] in SEARCH_TOOLS for tool in tools):
        return 0
    most = body.get("max_tool_calls")
    return SEARCHES_MAX if most is None else int(most)


def _tool(body: dict[str, Any], prompt: Prompt) -> Tool | None:
    """The function to call: none when an output has just come, unless the request insists."""
    functions: list[dict[str, Any]] = []
    for number, tool in enumerate(body.get("tools") or ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind == "function" and isinstance(tool.get("name"), str):
            functions.append(tool)
        elif kind == "function":
            raise missing(f"tools[{number}].name")
        elif kind not in SEARCH_TOOLS:
            raise unknown_value(f"tools[{number}].type", kind, ("function", *SEARCH_TOOLS))
    choice = body.get("tool_choice") or "auto"
    if isinstance(choice, dict) and choice.get("type") in SEARCH_TOOLS:
        return None
    if isinstance(choice, dict) and choice.get("type") == "function":
        for tool in functions:
            if tool["name"] == choice.get("name"):
                return Tool(tool["name"], tool.get("parameters") or {}, named=True)
        raise Refusal(
            400,
            f"Tool choice '{choice.get('name')}' not found in 'tools' parameter.",
            code="invalid_value",
            param="tool_choice",
        )
    if choice not in ("auto", "none", "required"):
        raise unknown_value("tool_choice", choice, ("none", "auto", "required"))
    if not functions or choice == "none" or (choice == "auto" and prompt.ends_with_tool):
        return None
    return Tool(functions[0]["name"], functions[0].get("parameters") or {}, named=False)


def _echo(body: dict[str, Any], model: Model) -> dict[str, Any]:
    """What a response repeats of its request."""
    reasoning = body.get("reasoning") or {}
    effort = reasoning.get("effort") or ("medium" if model.reasoning else None)
    text = body.get("text") or {}
    return {
        "frequency_penalty": 0.0,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "presence_penalty": 0.0,
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "prompt_cache_retention": None,
        "reasoning": {"effort": effort, "summary": reasoning.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "store": body.get("store") is not False,
        "temperature": body.get("temperature", 1.0),
        "text": {
            "format": text.get("format") or {"type": "text"},
            "verbosity": text.get("verbosity", "medium"),
        },
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_logprobs": 0,
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation") or "disabled",
        "user": body.get("user"),
    }


def _directive(body: dict[str, Any], prompt: Prompt) -> Directive:
    return wished(prompt.last_user, (body.get("metadata") or {}).get("simulate"))
