"""What Cohere's and Bedrock's models cost here agrees with a published list that nothing else here reads."""

from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from genai_prices import Usage, calc_price

from simulator.bedrock import models as bedrock
from simulator.cohere import models as cohere
from simulator.models import Model

MILLION = 1_000_000
PRICED = [
    (model, "cohere")
    for model in {model.id: model for model in cohere.KNOWN.values()}.values()
    if model.kind != "rerank"
]
PRICED += [(model, "aws") for model in {model.id: model for model in bedrock.KNOWN.values()}.values()]


def published(model: Model, provider: str, usage: Usage) -> Fraction:
    price = calc_price(
        usage, model.id, provider_id=provider, genai_request_timestamp=datetime(2026, 11, 15, tzinfo=UTC)
    )
    return Fraction(price.total_price) / MILLION


@pytest.mark.parametrize(("model", "provider"), PRICED, ids=lambda each: getattr(each, "id", each))
def test_prices_typed_by_hand_agree_with_a_published_list(model: Model, provider: str) -> None:
    rates = model.tiers["default"]
    assert rates.input == published(model, provider, Usage(input_tokens=MILLION))
    if model.kind == "chat":
        assert rates.output == published(model, provider, Usage(output_tokens=MILLION))
    if provider == "aws" and bedrock.nature_of(model).caches_from:
        read = Usage(input_tokens=MILLION, cache_read_tokens=MILLION)
        written = Usage(input_tokens=MILLION, cache_write_tokens=MILLION)
        assert rates.cached == published(model, provider, read)
        assert rates.written_5m == published(model, provider, written)
