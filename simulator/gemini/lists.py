"""Google's list of models, and one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from simulator.dialect import Asked, Whole
from simulator.directive import NONE, Directive
from simulator.gemini.dialect import unknown_model, wrong
from simulator.gemini.models import GEMINIS, Gemini
from simulator.replies import json_reply

PAGE = 50
METHODS = {
    "chat": ["generateContent", "countTokens", "createCachedContent", "batchGenerateContent"],
    "embedding": ["embedContent", "countTextTokens", "countTokens", "asyncBatchEmbedContent"],
}


@dataclass(frozen=True, slots=True)
class ModelsCall:
    """A request for one model, `name`, or for `size` of them from number `begin` on."""

    name: str | None
    size: int = PAGE
    begin: int = 0
    directive: Directive = NONE


def read_models(asked: Asked) -> ModelsCall:
    """What is asked for. Raises Refusal on a model that is not there, or a page that cannot be."""
    name = asked.names.get("model")
    if name is not None:
        if name not in GEMINIS:
            raise unknown_model(name, "getModel")
        return ModelsCall(name)
    query = parse_qs(asked.request.query)
    size, begin = query.get("pageSize", [str(PAGE)])[0], query.get("pageToken", ["0"])[0]
    if not size.isdecimal() or not begin.isdecimal():
        raise wrong("Invalid page size or page token.")
    return ModelsCall(None, int(size) or PAGE, int(begin))


def say_models(asked: Asked, call: ModelsCall, wish: Directive) -> Whole:
    """One model, or a page of the list."""
    if call.name is not None:
        return Whole(json_reply(_model(GEMINIS[call.name])))
    end = call.begin + call.size
    page: dict[str, Any] = {"models": [_model(each) for each in list(GEMINIS.values())[call.begin : end]]}
    if end < len(GEMINIS):
        page["nextPageToken"] = str(end)
    return Whole(json_reply(page))


def _model(gemini: Gemini) -> dict[str, Any]:
    model = gemini.model
    shown: dict[str, Any] = {
        "name": f"models/{model.id}",
        "version": gemini.version,
        "displayName": gemini.name,
        "inputTokenLimit": model.context,
        "outputTokenLimit": max(1, model.max_output),
        "supportedGenerationMethods": METHODS[model.kind],
    }
    if model.kind == "chat":
        shown |= {"temperature": 1, "topP": 0.95, "topK": 64, "maxTemperature": 2, "thinking": True}
    return shown
