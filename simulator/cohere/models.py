"""Cohere's models and what they cost: typed by hand, kept as fractions.

Prices: https://cohere.com/pricing as of 2026-11. It also says what a search unit is: a query with up to 100
documents, where a document longer than 500 tokens, the query's included, is split, and each part counts as a
document. Contexts and maxima: https://docs.cohere.com/docs/models.
"""

from __future__ import annotations

from fractions import Fraction

from simulator.errors import Refusal
from simulator.models import FREE, Model, per_million

PER_IMAGE_TOKEN = Fraction("0.47") / 10**6
PER_SEARCH = Fraction("2.00") / 1_000
DOCUMENTS_PER_SEARCH = 100
TOKENS_PER_DOCUMENT = 500


def _chat(name: str, context: int, maximum: int, price: tuple[str, str]) -> Model:
    """A model for chats; its short name is the one without the date. What is cached costs as much."""
    fresh, output = price
    return Model(
        id=name,
        snapshot=name,
        also=(name.rsplit("-", 2)[0],),
        kind="chat",
        created=0,
        context=context,
        max_output=maximum,
        tiers={"default": per_million(fresh, fresh, output)},
    )


_ALL = (
    _chat("command-a-03-2025", 288_000, 8_000, ("2.50", "10.00")),
    _chat("command-r-08-2024", 132_000, 4_000, ("0.15", "0.60")),
    _chat("command-r-plus-08-2024", 132_000, 4_000, ("2.50", "10.00")),
    _chat("command-r7b-12-2024", 132_000, 4_000, ("0.0375", "0.15")),
    Model(
        id="embed-v4.0",
        snapshot="embed-v4.0",
        kind="embedding",
        created=0,
        context=128_000,
        max_output=0,
        dimensions=1_536,
        image_high=1_610,
        tiers={"default": per_million("0.12", "0.12", "0")},
    ),
    *(
        Model(
            id=name,
            snapshot=name,
            kind="rerank",
            created=0,
            context=4_096,
            max_output=0,
            tiers={"default": FREE},
        )
        for name in ("rerank-v3.5", "rerank-english-v3.0", "rerank-multilingual-v3.0")
    ),
)

KNOWN: dict[str, Model] = {name: model for model in _ALL for name in (model.id, *model.also)}


def read_model(body: dict[str, object], kind: str) -> Model:
    """The model that a request names. Raises Refusal as Cohere does."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise Refusal(400, "invalid request: model is required")
    model = KNOWN.get(name)
    if model is None:
        raise Refusal(
            404,
            f"model '{name}' not found, make sure the correct model ID was used and that you have access to "
            "the model.",
        )
    if model.kind != kind:
        raise Refusal(400, f"model '{name}' is not supported by this API")
    return model
