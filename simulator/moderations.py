"""Moderations: whether texts and images are harmful. They cost nothing and report no usage, as at OpenAI.

A text that holds the word "violence" is flagged for it; nothing else is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from simulator import tokens
from simulator.chat import read_model
from simulator.dialect import Asked, Whole
from simulator.directive import NONE, Directive, wished
from simulator.errors import Refusal, missing, wrong_type
from simulator.models import Model
from simulator.wire import Reply

USUAL_MODEL = "omni-moderation-latest"
CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent",
    "self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence",
    "violence/graphic",
)  # fmt: skip
FLAGGED = "violence"
INPUTS_MAX = 2_048


@dataclass(frozen=True, slots=True)
class ModerationCall:
    """One checked request: the kinds of input and the text of each result."""

    model: Model
    inputs: list[tuple[list[str], str]]
    prompt_tokens: int
    directive: Directive

    def document(self, answer_id: str) -> bytes:
        """The answer's body."""
        results = [_result(kinds, text) for kinds, text in self.inputs]
        return orjson.dumps({"id": answer_id, "model": self.model.id, "results": results})


def read_moderation_call(asked: Asked) -> ModerationCall:
    """Read what was asked."""
    return read_moderation(asked.body, may_direct=asked.may_direct)


def say_moderation(asked: Asked, call: ModerationCall, wish: Directive) -> Whole:
    """The results."""
    asked.charge.begin(call.model.snapshot, call.model.tiers["default"], call.prompt_tokens)
    return Whole(Reply(200, call.document(f"modr-{asked.request_id[-28:]}")))


def read_moderation(body: dict[str, Any], *, may_direct: bool) -> ModerationCall:
    """Read a request body. Raises Refusal on what OpenAI would refuse."""
    model = read_model({"model": USUAL_MODEL, **body}, "moderation")
    given = body.get("input")
    if given is None:
        raise missing("input")
    if isinstance(given, str):
        given = [given]
    if not isinstance(given, list):
        raise wrong_type("input", "a string or an array", given)
    if not 1 <= len(given) <= INPUTS_MAX:
        raise Refusal(400, f"Invalid 'input': expected 1 to {INPUTS_MAX} inputs.", param="input")
    if all(isinstance(each, str) for each in given):
        inputs = [(["text"], str(each)) for each in given]
    else:
        # Parts are one thing to look at, with one result.
        parts = [_part(part, f"input[{number}]") for number, part in enumerate(given)]
        inputs = [([kind for kind, _ in parts], " ".join(text for _, text in parts))]
    return ModerationCall(
        model=model,
        inputs=inputs,
        prompt_tokens=sum(tokens.count(text) for _, text in inputs),
        directive=wished(inputs[-1][1]) if may_direct else NONE,
    )


def _part(part: Any, where: str) -> tuple[str, str]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return "text", part["text"]
    if kind == "image_url" and isinstance(part.get("image_url"), dict):
        return "image", ""
    raise Refusal(400, f"'$.{where}' is invalid: expected a text or an image_url.", param=where)


def _result(kinds: list[str], text: str) -> dict[str, Any]:
    flagged = FLAGGED in text.lower()
    return {
        "flagged": flagged,
        "categories": {name: flagged and name == FLAGGED for name in CATEGORIES},
        "category_scores": {name: 0.9 if flagged and name == FLAGGED else 0.0001 for name in CATEGORIES},
        "category_applied_input_types": dict.fromkeys(CATEGORIES, kinds),
    }
