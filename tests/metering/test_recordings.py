"""Every recorded exchange of 14 providers: read, priced, compared with genai-prices and with recorded bills.

The oracle extracts usage by its own rules from the same answer and prices it by its own arithmetic. What it
has no rule for is told to it by this file's own reading: calls of server tools (it has their prices, and does
not look for them), and the model calls behind an Anthropic answer. Where the two still differ, DISAGREEMENTS
names the exchange and what decides: a price page, or the bill that the answer itself carries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot

from metering.bill import bill
from metering.cost import Cost
from metering.pricebook import PriceBook
from metering.usage.readers import READERS
from metering.usage.reading import NOTHING, Reading
from tests.metering.conftest import moment
from tests.metering.recorded import FOLDER, Exchange, exchanges

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recorded provider traffic is not here")

AT_MS = moment("2026-11-21")
AT = datetime.fromtimestamp(AT_MS / 1_000, UTC)
PROVIDERS = {provider.id: provider for provider in get_snapshot().providers}
# The oracle's names for the ways a provider answers, by ours. Who copies OpenAI's format is read by those
# rules.
FLAVOURS = {
    "openai.chat": ("chat", "default"),
    "openai.embeddings": ("embeddings",),
    "openai.responses": ("responses",),
    "anthropic.messages": ("default",),
    "gemini.generate": ("default",),
    "bedrock.converse": ("default",),
    "cohere.chat": ("default",),
    "cohere.embed": ("embeddings",),
}
_BILL = "the bill recorded in the answer (usage.cost) decides: "
_NO_RATE = (
    "its list (https://www.cerebras.ai/pricing) has no rate for it: the oracle says $0, ours is unknown"
)
_SOL = _BILL + "on its day the model cost $5, $0.50 cached and $6.25 cache-writing per million, by its parts"
DISAGREEMENTS = {
    "cerebras/test_openai_model_cerebras_provider_qwen_3_coder#0": _NO_RATE,
    "cerebras/test_openai_model_cerebras_provider_qwen_3_coder#1": _NO_RATE,
    "openrouter/test_openai_responses_raw_cot_stream_openrouter#0": _BILL + "$0.05 and $0.20 per million, by "
    "its parts; the list has the day's cheapest upstream",
    "openrouter/test_openrouter_advisor_tool#0": _BILL
    + "it includes an adviser's tokens, which stand nowhere",
    "openrouter/test_openrouter_advisor_tool_stream#0": _BILL + "it includes an adviser's tokens",
    "openrouter/test_openrouter_cache_instructions_gemini_real_api#0": _BILL
    + "the oracle refuses the usage, "
    "in which cache reads and writes overlap",
    "openrouter/test_openrouter_responses_prompt_cache_e2e#0": _SOL,
    "openrouter/test_openrouter_responses_prompt_cache_e2e#1": _SOL,
    "openrouter/test_openrouter_web_search_tool_usage_stream#0": _BILL + "$0.01 of it is a search, which the "
    "list has no price of",
    "openrouter/test_ref_sibling_wire_contract[qwen-nested-model]#0": _BILL
    + "$0.10 and $0.30 per million, by "
    "its parts: the upstream (WandB) was dearer than the list's",
}
"""Exchange -> why our cost is not genai-prices', and what decides."""

# Why a successful answer may have no usage: it says so itself, or says nothing.
SILENT = {
    "bedrock.invoke": "Bedrock counts embeddings of Cohere and Nova in headers, which were not recorded",
    "gemini.embed": "the Gemini API does not count embeddings",
    "openai.responses": "a background response that has not ended has a null usage",
    "openai.chat": "a stream that ended in an error",
    "gemini.generate": "a prompt that was blocked",
}


@dataclass
class Run:
    """What reading and pricing all exchanges gave."""

    costs: dict[str, tuple[Exchange, Reading, Cost]] = field(default_factory=dict)
    silent: list[Exchange] = field(default_factory=list)
    errors: list[Exchange] = field(default_factory=list)


@pytest.fixture(scope="module")
def run() -> Run:
    book, found = PriceBook.load(), Run()
    for exchange in exchanges():
        reading = NOTHING
        for event in exchange.events:
            reading = READERS[exchange.reader](event, reading)
        if exchange.status != 200:
            assert reading.usage is None
            found.errors.append(exchange)
        elif reading.usage is None:
            found.silent.append(exchange)
        else:
            cost = bill(book, exchange.provider, exchange.model, reading, AT_MS)
            found.costs[exchange.id] = (exchange, reading, cost)
    return found


def test_every_exchange_was_read(run: Run, record_property: Any) -> None:
    everything = exchanges()
    counted = Counter(exchange.source for exchange in everything)
    priced = Counter(exchange.source for exchange, _, cost in run.costs.values() if cost.nano is not None)
    record_property("priced / recorded", {source: (priced[source], counted[source]) for source in counted})
    assert len(counted) == 14
    assert len(everything) == len(run.costs) + len(run.silent) + len(run.errors) >= 585
    assert len({exchange.id for exchange in everything}) == len(everything)


def test_an_answer_without_usage_has_a_reason(run: Run) -> None:
    for exchange in run.silent:
        assert exchange.reader in SILENT
        assert not any(_tells_tokens(event) for event in exchange.events), exchange.id


def _tells_tokens(event: dict[str, Any]) -> bool:
    told = (
        event.get("usage") or (event.get("response") or {}).get("usage") or event.get("usageMetadata") or {}
    )
    return any("okens" in name or "TokenCount" in name for name, value in told.items() if value)


def test_usage_is_what_the_oracle_reads(run: Run) -> None:
    differing = {}
    for name, (exchange, reading, _) in run.costs.items():
        theirs = _extracted(exchange)
        if theirs is None:
            continue
        assert reading.usage is not None
        mine = reading.usage.document()
        for ours, other in (
            ("input_tokens", "input_tokens"),
            ("output_tokens", "output_tokens"),
            ("cache_read_input_tokens", "cache_read_tokens"),
            ("reasoning_output_tokens", "output_reasoning_tokens"),
            ("input_audio_tokens", "input_audio_tokens"),
            ("input_image_tokens", "input_image_tokens"),
        ):
            told = getattr(theirs, other, None)
            if told is not None and mine.get(ours, 0) != told:
                differing[name, ours] = (mine.get(ours, 0), told)
        writes = mine.get("cache_write_5m_input_tokens", 0) + mine.get("cache_write_1h_input_tokens", 0)
        if writes != (getattr(theirs, "cache_write_tokens", None) or 0):
            differing[name, "cache writes"] = (writes, theirs.cache_write_tokens)
    assert not differing


def test_every_cost_is_the_oracles_or_a_listed_disagreement(run: Run, record_property: Any) -> None:
    passed: Counter[str] = Counter()
    differing = {}
    for name, (exchange, _, cost) in run.costs.items():
        expected = _oracle(exchange)
        if cost.nano == expected:
            passed[exchange.source] += 1
        else:
            differing[name] = (cost.nano, expected, cost.notes)
    record_property("equal to the oracle", dict(passed))
    assert {name: why for name, why in differing.items() if name not in DISAGREEMENTS} == {}
    known = set(DISAGREEMENTS) & set(run.costs)
    assert known <= differing.keys(), "a listed disagreement no longer is one"
    total = len(run.costs) + len(run.silent) + len(run.errors)
    assert len(differing) <= total * 2 // 100


def test_every_recorded_bill_is_our_cost(run: Run) -> None:
    billed = 0
    for exchange, _, cost in run.costs.values():
        reported = _last(exchange).get("usage") or {}
        if exchange.source != "openrouter" or "cost" not in reported:
            continue
        billed += 1
        dollars = Decimal(str(reported["cost"]))
        if reported.get("is_byok"):
            dollars += Decimal(str(reported["cost_details"]["upstream_inference_cost"]))
        assert cost.nano == int((dollars * 10**9).to_integral_value(ROUND_HALF_EVEN)), exchange.id
        assert cost.status == "provider_reported"
        assert sum(line.cost_nano for line in cost.lines) == cost.nano
    assert billed >= 25


def test_rows_add_up_and_nothing_was_contradicted_but_for_one_known_answer(run: Run) -> None:
    contradicted = []
    for name, (_, reading, cost) in run.costs.items():
        if cost.nano is not None:
            assert sum(line.cost_nano for line in cost.lines) == cost.nano, name
        assert reading.usage is not None
        if reading.usage.contradiction():
            contradicted.append(name)
    assert set(contradicted) <= {"openrouter/test_openrouter_cache_instructions_gemini_real_api#0"}


def _last(exchange: Exchange) -> dict[str, Any]:
    """The object that the oracle is shown: a stream's last word on usage, put together by hand."""
    events = exchange.events
    if exchange.reader == "anthropic.messages" and len(events) > 1:
        start = next(event["message"] for event in events if event["type"] == "message_start")
        delta = [event for event in events if event["type"] == "message_delta"][-1]
        return {**start, "usage": {**start["usage"], **delta["usage"]}}
    if exchange.reader == "openai.responses" and "response" in events[-1]:
        return dict(events[-1]["response"])
    told = [event for event in events if event.get("usage") or event.get("usageMetadata")]
    groq = [
        {**event, "usage": event["x_groq"]["usage"]}
        for event in events
        if (event.get("x_groq") or {}).get("usage")
    ]
    return (told or groq or [events[-1]])[-1]


def _extracted(exchange: Exchange) -> types.Usage | None:
    """The usage that the oracle's own rules find; None where it has no rule for such an answer."""
    if exchange.reader == "bedrock.invoke":
        return types.Usage(input_tokens=_last(exchange)["inputTextTokenCount"])
    provider = PROVIDERS[exchange.provider]
    flavours = FLAVOURS[exchange.reader]
    rules = [rule for rule in provider.extractors or () if rule.api_flavor in flavours]
    rules += [rule for rule in PROVIDERS["openai"].extractors or () if rule.api_flavor in flavours]
    return rules[0].extract(_last(exchange))[1]


def _oracle(exchange: Exchange) -> int | None:
    """What the oracle says the exchange costs, nano-USD; None where it cannot say."""
    usage, answer = _extracted(exchange), _last(exchange)
    if usage is None:
        return None
    for unit, quantity in _tool_calls(exchange):
        setattr(usage, unit, quantity)
    tier = answer.get("service_tier") or (answer.get("usageMetadata") or {}).get("trafficType") or ""
    context = {"service_tier": "flex"} if tier in ("flex", "ON_DEMAND_FLEX") else {}
    total = _calculated(exchange, answer.get("model") or answer.get("modelVersion"), usage, context)
    for call in (answer.get("usage") or {}).get("iterations") or ():
        if total is not None and "model" in call:
            used = types.Usage(input_tokens=call["input_tokens"], output_tokens=call["output_tokens"])
            adviser = _calculated(exchange, call["model"], used, {})
            total = None if adviser is None else total + adviser
    return None if total is None else int(total.to_integral_value(ROUND_HALF_EVEN))


def _calculated(
    exchange: Exchange, served: str | None, usage: types.Usage, context: dict[str, str]
) -> Decimal | None:
    provider = PROVIDERS[exchange.provider]
    for name in (served, exchange.model):
        model = provider.find_model(name, all_providers=get_snapshot().providers) if name else None
        if model is not None:
            try:
                price = model.calc_price(usage, provider, genai_request_timestamp=AT, price_context=context)
            except ValueError:
                return None
            return price.total_price * 10**9
    return None


def _tool_calls(exchange: Exchange) -> Iterator[tuple[str, int]]:
    """Calls of the provider's own tools, as they stand in the answers: what the oracle does not look for."""
    if exchange.reader == "openai.responses":
        kinds = Counter(item.get("type") for item in _last(exchange).get("output") or ())
        if kinds["web_search_call"]:
            yield "web_searches", kinds["web_search_call"]
        if kinds["file_search_call"]:
            yield "storage_searches", kinds["file_search_call"]
    if exchange.reader == "gemini.generate":
        queries = [
            query
            for event in exchange.events
            for candidate in event.get("candidates") or ()
            for query in (candidate.get("groundingMetadata") or {}).get("webSearchQueries") or ()
        ]
        if queries:
            yield "web_searches", len(queries)
