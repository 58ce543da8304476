"""Cohere's embed and rerank, seen through its own SDK; bills worked by hand."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from fractions import Fraction

import cohere
import httpx2
import pytest

from simulator.cohere.rerank import parts_of
from simulator.process import Simulator

pytestmark = [pytest.mark.wide, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def co(running_simulator: Simulator) -> Iterator[cohere.ClientV2]:
    with cohere.ClientV2(api_key="test-key", base_url=running_simulator.root, timeout=10) as made:
        yield made


def test_embeddings_are_one_vector_in_every_type(co: cohere.ClientV2, simulator: Simulator) -> None:
    made = co.embed(
        model="embed-v4.0",
        input_type="search_query",
        texts=["Hello, world!"],
        output_dimension=256,
        embedding_types=["float", "int8", "uint8", "binary", "ubinary", "base64"],
    )
    (floats,) = made.embeddings.float_
    assert len(floats) == 256
    assert sum(number * number for number in floats) == pytest.approx(1)
    bits = [number > 0 for number in floats]
    assert made.embeddings.int8 == [[127 if bit else -127 for bit in bits]]
    assert made.embeddings.uint8 == [[255 if bit else 0 for bit in bits]]
    assert made.embeddings.base64
    assert struct.unpack("<256f", base64.b64decode(made.embeddings.base64[0])) == tuple(floats)
    packed = [sum(bit << 7 - place for place, bit in enumerate(bits[at : at + 8])) for at in range(0, 256, 8)]
    assert made.embeddings.ubinary == [packed]
    assert made.embeddings.binary == [[byte - 128 for byte in packed]]
    # As Cohere itself said to the same text: 4 tokens. $0.12/M.
    assert made.meta.billed_units.input_tokens == 4
    assert simulator.total_nano() == 480


def test_images_are_embedded_at_a_price_of_their_own(co: cohere.ClientV2, simulator: Simulator) -> None:
    picture = "data:image/png;base64,AAAA"
    made = co.embed(model="embed-v4.0", input_type="image", images=[picture])
    units = made.meta.billed_units
    assert (units.input_tokens, units.image_tokens) == (0, 1_610)
    both = [{"type": "text", "text": "a cat"}, {"type": "image_url", "image_url": {"url": picture}}]
    mixed = co.embed(model="embed-v4.0", input_type="search_document", inputs=[{"content": both}])
    assert (mixed.meta.billed_units.input_tokens, mixed.meta.billed_units.image_tokens) == (2, 1_610)
    assert (
        Fraction(simulator.bill()["total_exact"]) == (3_220 * Fraction("0.47") + 2 * Fraction("0.12")) / 10**6
    )


def test_rerank_orders_by_what_is_shared_and_costs_a_search(
    co: cohere.ClientV2, simulator: Simulator
) -> None:
    documents = ["Bananas are yellow", "Paris is the capital of France", "France has cheese"]
    answer = co.rerank(model="rerank-v3.5", query="the capital of France", documents=documents, top_n=2)
    assert [result.index for result in answer.results] == [1, 2]
    assert answer.results[0].relevance_score > answer.results[1].relevance_score
    assert answer.meta.billed_units.search_units == 1
    # $2 for 1,000 searches
    (entry,) = simulator.bill()["requests"]
    assert (entry["nano"], entry["searches"]) == (2_000_000, 1)


@pytest.mark.parametrize(
    ("documents", "units"),
    [
        (["word"] * 100, 1),
        (["word"] * 101, 2),
        # The query is 2 tokens, which leaves 498 of 500.
        ([" word" * 498] * 100, 1),
        ([" word" * 499] + ["word"] * 99, 2),
        # 4,096 tokens of a document are read: 9 parts.
        (["word " * 9_000] * 11, 1),
        (["word " * 9_000] * 12, 2),
    ],
)
def test_long_documents_count_as_several(co: cohere.ClientV2, documents: list[str], units: int) -> None:
    answer = co.rerank(model="rerank-v3.5", query="two words", documents=documents)
    assert answer.meta.billed_units.search_units == units


def test_a_part_holds_500_tokens_with_the_query() -> None:
    assert [parts_of(size, 20) for size in (0, 1, 480, 481, 960, 961)] == [1, 1, 1, 2, 2, 3]
    assert parts_of(3, 2_000) == 3


def test_the_first_version_takes_objects_and_returns_them(http: httpx2.Client, simulator: Simulator) -> None:
    asked = {
        "model": "rerank-english-v3.0",
        "query": "capital",
        "documents": [{"text": "a village"}, {"text": "the capital"}],
        "return_documents": True,
        "top_n": 1,
    }
    answer = http.post("/v1/rerank", json=asked).json()
    assert answer["results"][0]["document"] == {"text": "the capital"}
    assert answer["meta"] == {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}}
    # Ten parts of a document at most, unless said otherwise: 110 parts, two units.
    long = {**asked, "documents": [" word" * 9_000] * 11}
    assert http.post("/v1/rerank", json=long).json()["meta"]["billed_units"]["search_units"] == 2
    short = http.post("/v1/rerank", json={**long, "max_chunks_per_doc": 1}).json()
    assert short["meta"]["billed_units"]["search_units"] == 1
    assert http.post("/v2/rerank", json=asked).status_code == 400
    assert simulator.total_nano() == 4 * 2_000_000


@pytest.mark.parametrize("path", ["/v2/embed", "/v2/rerank"])
def test_directives_reach_embeddings_and_searches(
    http: httpx2.Client, simulator: Simulator, path: str
) -> None:
    wish = "[[simulate: status=429 retry_after=3]]"
    body = (
        {"model": "embed-v4.0", "input_type": "search_query", "texts": [wish]}
        if path == "/v2/embed"
        else {"model": "rerank-v3.5", "query": wish, "documents": ["a"]}
    )
    answer = http.post(path, json=body)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert simulator.total_nano() == 0
