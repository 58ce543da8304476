"""Anthropic's list of models, and one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from simulator.anthropic.dialect import wrong
from simulator.anthropic.models import CLAUDES, Claude
from simulator.dialect import Asked, Whole
from simulator.directive import NONE, Directive
from simulator.errors import Refusal
from simulator.replies import json_reply

PAGE = 20
PAGE_MAX = 1_000


@dataclass(frozen=True, slots=True)
class ModelsCall:
    """A request for one model, `name`, or for `limit` of them after the one named `after`."""

    name: str | None
    limit: int
    after: str | None
    directive: Directive = NONE


def read_models(asked: Asked) -> ModelsCall:
    """What is asked for. Raises Refusal on a model that is not there, or a page that cannot be."""
    name = asked.names.get("model")
    if name is not None and name not in CLAUDES:
        raise Refusal(404, f"model: {name}")
    query = parse_qs(asked.request.query)
    limit = query.get("limit", [str(PAGE)])[0]
    if not limit.isdecimal() or not 1 <= int(limit) <= PAGE_MAX:
        raise wrong(f"limit: Input should be between 1 and {PAGE_MAX}")
    return ModelsCall(name, int(limit), query.get("after_id", [None])[0])


def say_models(asked: Asked, call: ModelsCall, wish: Directive) -> Whole:
    """One model, or a page of the list, the newest first."""
    if call.name is not None:
        return Whole(json_reply(_model(CLAUDES[call.name])))
    everything = sorted(
        {each.model.snapshot: each for each in CLAUDES.values()}.values(),
        key=lambda each: each.released,
        reverse=True,
    )
    names = [each.model.snapshot for each in everything]
    begin = names.index(call.after) + 1 if call.after in names else 0
    page = everything[begin : begin + call.limit]
    return Whole(
        json_reply(
            {
                "data": [_model(each) for each in page],
                "has_more": begin + call.limit < len(everything),
                "first_id": page[0].model.snapshot if page else None,
                "last_id": page[-1].model.snapshot if page else None,
            }
        )
    )


def _model(claude: Claude) -> dict[str, Any]:
    return {
        "type": "model",
        "id": claude.model.snapshot,
        "display_name": claude.name,
        "created_at": claude.released,
        "max_input_tokens": claude.model.context,
        "max_tokens": claude.model.max_output,
        "lifecycle": "active",
    }
