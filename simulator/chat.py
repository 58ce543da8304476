"""What a chat completion request asks for, read and checked the way OpenAI does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal, missing, unknown_model, unknown_value, wrong_type
from simulator.models import KNOWN, Model
from simulator.prompt import Prompt, read_prompt

TIERS = ("auto", "default", "flex", "priority", "scale")
EFFORT = {"none": 0, "minimal": 0, "low": 64, "medium": 128, "high": 256}
"""Hidden tokens of a reasoning model, in the multiples of 64 that OpenAI reports."""


@dataclass(frozen=True, slots=True)
class Tool:
    """The function that the answer calls."""

    name: str
    parameters: Any
    named: bool


@dataclass(frozen=True, slots=True)
class ChatCall:
    """One checked request. `maximum` is the client's own bound on output, hidden tokens included."""

    model: Model
    prompt: Prompt
    stream: bool
    include_usage: bool
    obfuscate: bool
    maximum: int | None
    tier: str
    effort: int
    tool: Tool | None
    json: bool
    schema: Any
    directive: Directive


def read_model(body: dict[str, Any], kind: str) -> Model:
    """The model that `body` names. Raises Refusal when there is none of that kind."""
    name = body.get("model")
    if name is None:
        raise Refusal(400, "you must provide a model parameter")
    if not isinstance(name, str):
        raise wrong_type("model", "a string", name)
    model = KNOWN.get(name)
    if model is None:
        raise unknown_model(name)
    if model.kind != kind:
        what = "an embedding model" if kind == "embedding" else f"a {kind} model"
        raise Refusal(404, f"This is not {what} and thus not supported here: {name}", param="model")
    return model


def read_chat(body: dict[str, Any], *, may_direct: bool) -> ChatCall:
    """Read a request body. `may_direct` is False when its bytes hold no directive at all."""
    model = read_model(body, "chat")
    for name, kind, word in (
        ("stream", bool, "a boolean"),
        ("tools", list, "an array of objects"),
        ("metadata", dict, "an object"),
        ("response_format", dict, "an object"),
        ("stream_options", dict, "an object"),
    ):
        value = body.get(name)
        if value is not None and not isinstance(value, kind):
            raise wrong_type(name, word, value)
    for number, tool in enumerate(body.get("tools") or ()):
        if not isinstance(tool, dict):
            raise wrong_type(f"tools[{number}]", "an object", tool)
    stream = bool(body.get("stream"))
    options = body.get("stream_options") or {}
    if options and not stream:
        raise Refusal(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    tier = body.get("service_tier") or "auto"
    if tier not in TIERS:
        raise unknown_value("service_tier", tier, TIERS)
    maximum = _maximum(body, model)
    prompt = read_prompt(body, model)
    if prompt.total > model.context:
        raise Refusal(
            400,
            f"This model's maximum context length is {model.context} tokens. However, your messages resulted "
            f"in {prompt.total} tokens. Please reduce the length of the messages.",
            code="context_length_exceeded",
            param="messages",
        )
    shape = body.get("response_format") or {}
    schema = shape.get("json_schema")
    return ChatCall(
        model=model,
        prompt=prompt,
        stream=stream,
        include_usage=bool(options.get("include_usage")),
        obfuscate=options.get("include_obfuscation") is not False,
        maximum=maximum,
        tier=tier,
        effort=_effort(body, model),
        tool=_tool(body, prompt),
        json=shape.get("type") in ("json_object", "json_schema"),
        schema=schema.get("schema") if isinstance(schema, dict) else None,
        directive=_directive(body, prompt) if may_direct else NONE,
    )


def _maximum(body: dict[str, Any], model: Model) -> int | None:
    old, new = body.get("max_tokens"), body.get("max_completion_tokens")
    if old is not None and model.reasoning:
        raise Refusal(
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            code="unsupported_parameter",
            param="max_tokens",
        )
    if old is not None and new is not None:
        raise Refusal(
            400,
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
            param="max_tokens",
        )
    name, value = ("max_completion_tokens", new) if old is None else ("max_tokens", old)
    return checked_maximum(name, value, model)


def checked_maximum(name: str, value: Any, model: Model, *, least: int = 1) -> int | None:
    """The value of a field that bounds the output. Raises Refusal on what the model does not allow."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong_type(name, "an integer", value)
    if value < least:
        raise Refusal(
            400,
            f"Invalid '{name}': integer below minimum value. Expected a value >= {least}, but got {value} "
            "instead.",
            code="integer_below_min_value",
            param=name,
        )
    if value > model.max_output:
        raise Refusal(
            400,
            f"{name} is too large: {value}. This model supports at most {model.max_output} completion "
            f"tokens, whereas you provided {value}.",
            code="invalid_value",
            param=name,
        )
    return value


def _effort(body: dict[str, Any], model: Model) -> int:
    if not model.reasoning:
        return 0
    effort = body.get("reasoning_effort") or "medium"
    if effort not in EFFORT:
        raise unknown_value("reasoning_effort", effort, EFFORT)
    return EFFORT[effort]


def _tool(body: dict[str, Any], prompt: Prompt) -> Tool | None:
    """The function to call: none when a tool has just answered, unless the request insists."""
    functions = [
        function
        for tool in body.get("tools") or ()
        if isinstance(function := tool.get("function"), dict) and isinstance(function.get("name"), str)
    ]
    choice = body.get("tool_choice") or "auto"
    if not functions or choice == "none" or (choice == "auto" and prompt.ends_with_tool):
        return None
    if not isinstance(choice, dict):
        return Tool(functions[0]["name"], functions[0].get("parameters") or {}, named=False)
    wanted = (choice.get("function") or {}).get("name")
    if wanted is None:
        raise missing("tool_choice.function")
    for function in functions:
        if function["name"] == wanted:
            return Tool(wanted, function.get("parameters") or {}, named=True)
    raise Refusal(
        400,
        f"Tool choice '{wanted}' not found in 'tools' parameter.",
        code="invalid_value",
        param="tool_choice",
    )


def _directive(body: dict[str, Any], prompt: Prompt) -> Directive:
    return wished(prompt.last_user, (body.get("metadata") or {}).get("simulate"))
