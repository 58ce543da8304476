"""How usage in shapes of one maker's own has been misread elsewhere: Cohere, rerankers, embeddings, Bedrock.

Each trap has the thread that reported it: `litellm #n` and others are issues or pull requests of the project
named. Amounts are counts; what they cost is tested with the prices.
"""

from __future__ import annotations

from metering.usage import Usage
from metering.usage.bedrock import read_invoke_headers
from tests.metering.answers import message, read, usage


def test_cohere_charges_what_it_bills_and_not_what_it_counts() -> None:
    """Its own preamble is counted (542) and not billed (13)."""
    figures = {
        "billed_units": {"input_tokens": 13, "output_tokens": 61},
        "tokens": {"input_tokens": 542, "output_tokens": 63},
        "cached_tokens": 512,
    }
    expected = Usage(input_tokens=13, output_tokens=61)
    assert usage("cohere.chat", {"usage": figures}) == expected
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": figures}}
    assert usage("cohere.chat", {"type": "content-delta", "delta": {}}, end) == expected
    assert usage("cohere.chat", {"usage": {"tokens": figures["tokens"], "cached_tokens": 512}}) == Usage(
        input_tokens=542, cache_read_input_tokens=512, output_tokens=63
    )
    images = {"meta": {"billed_units": {"input_tokens": 4, "image_tokens": 300}}}
    assert usage("cohere.embed", images) == Usage(input_tokens=304, input_image_tokens=300)


def test_rerank_is_billed_in_searches_or_in_tokens() -> None:
    """litellm-style rerank bridges: Cohere bills search units, Voyage and Jina tokens."""
    searches = {"meta": {"billed_units": {"search_units": 2}}}
    assert dict(usage("rerank", searches).extra) == {"rerank_searches": 2}
    assert usage("rerank", {"model": "rerank-2", "usage": {"total_tokens": 77}}).input_tokens == 77
    assert read("rerank", {"results": []}).usage is None


def test_embeddings_that_count_only_a_total_have_an_input() -> None:
    assert usage("openai.embeddings", {"usage": {"total_tokens": 12}}) == Usage(input_tokens=12)
    assert usage("openai.embeddings", {"usage": {"prompt_tokens": 5, "total_tokens": 5}}).input_tokens == 5
    vertex = {
        "predictions": [{"embeddings": {"statistics": {"token_count": 4}}}] * 2,
        "metadata": {"billableCharacterCount": 21},
    }
    assert usage("gemini.embed", vertex) == Usage(input_tokens=8)
    characters = {"predictions": [{"embeddings": {}}], "metadata": vertex["metadata"]}
    assert usage("gemini.embed", characters) == Usage(extra=(("input_characters", 21),))


def test_invoke_model_reads_each_makers_own_shape() -> None:
    """litellm #33736, #13245: Bedrock without usage."""
    nova = {"usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}}
    titan = {"inputTextTokenCount": 3, "results": [{"tokenCount": 4}]}
    llama = {"generation": "x", "prompt_token_count": 3, "generation_token_count": 4}
    jamba = {"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}}
    for answer in (nova, titan, llama, jamba, message(input_tokens=3, output_tokens=4)):
        assert usage("bedrock.invoke", answer) == Usage(input_tokens=3, output_tokens=4)
    embedding = {"embedding": [0.1], "inputTextTokenCount": 5}
    assert usage("bedrock.invoke", embedding) == Usage(input_tokens=5)


def test_bedrocks_headers_count_where_its_body_does_not() -> None:
    headers = {"x-amzn-bedrock-input-token-count": "17", "x-amzn-bedrock-output-token-count": "0"}
    silent = read("bedrock.invoke", {"embeddings": [[0.1]]})
    assert read_invoke_headers(headers, silent).usage == Usage(input_tokens=17)
    told = read("bedrock.invoke", message(input_tokens=3, output_tokens=4))
    assert read_invoke_headers(headers, told) is told
    assert read_invoke_headers({}, silent).usage is None
