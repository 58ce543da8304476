"""What the gateway understands of Google's requests, and what it makes of them for a provider."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import orjson
import pytest

from gateway.ceiling import ceiling, input_bound
from gateway.dialects import SURFACES, Exchange
from gateway.errors import BadRequest
from metering.pricebook import PriceBook
from tests.metering.conftest import moment

AT = moment("2026-11-21")
BOOK = PriceBook.load()
HELLO = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def asked(
    surface: str = "generateContent", *, stream: bool = False, alt: str = "sse", **body: Any
) -> Exchange:
    place = {"stream": True, "alt": alt} if stream else {}
    return SURFACES[surface].call(body, model="flash", **place)


def generate(**more: Any) -> Exchange:
    return asked(**{**HELLO, **more})


def with_part(part: dict[str, Any]) -> Exchange:
    return asked(contents=[{"parts": [{"text": "What is it?"}, part]}])


def inline(kind: str, data: bytes | str) -> dict[str, Any]:
    text = data if isinstance(data, str) else b64encode(data).decode()
    return {"inlineData": {"mimeType": kind, "data": text}}


def body_of(call: Exchange, model: str = "gemini-2.5-flash", maximum: int | None = None) -> Any:
    bound = None if maximum is None else (call.only_maximum_field or "", maximum)
    return orjson.loads(call.forwarded(model, maximum=bound, ask_usage=False))


def test_model_and_stream_stand_in_the_path() -> None:
    assert (generate().model, generate().stream, generate().operation) == ("flash", False, "generateContent")
    events = asked(stream=True, **HELLO)
    assert (events.surface, events.operation, events.stream_type) == (
        "generateContent",
        "generateContent.stream",
        b"text/event-stream",
    )
    for alt in ("", "json"):
        array = asked(stream=True, alt=alt, **HELLO)
        assert (array.surface, array.operation) == ("generateContent.array", "generateContent.array")
        assert (array.stream, array.stream_type) == (True, b"application/json")
    with pytest.raises(BadRequest):
        SURFACES["generateContent"].call(dict(HELLO), model="x" * 257)


def test_what_is_said_of_a_project_or_in_the_query_changes_nothing() -> None:
    call = SURFACES["generateContent"].call(dict(HELLO), model="m", project="theirs", location="eu")
    assert body_of(call) == HELLO


def test_the_configuration_is_read_in_both_spellings() -> None:
    for config in (
        {"maxOutputTokens": 99, "candidateCount": 3, "responseMimeType": "application/json"},
        {"max_output_tokens": 99.0, "candidate_count": 3, "response_mime_type": "application/json"},
    ):
        for name in ("generationConfig", "generation_config"):
            call = generate(**{name: config})
            assert (call.maximum, call.maximum_field, call.choices) == (99, "maxOutputTokens", 3)
            assert call.wants_json
    assert generate().maximum is None
    assert generate(generationConfig=None).choices == 1
    assert generate(generationConfig={"maxOutputTokens": None}).maximum is None


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"generationConfig": []}, "generation_config"),
        ({"generationConfig": {"maxOutputTokens": "9"}}, "generation_config.max_output_tokens"),
        ({"generationConfig": {"maxOutputTokens": True}}, "generation_config.max_output_tokens"),
        ({"generationConfig": {"maxOutputTokens": 1.5}}, "generation_config.max_output_tokens"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "generation_config.max_output_tokens"),
        ({"generationConfig": {"max_output_tokens": 10**8}}, "generation_config.max_output_tokens"),
        ({"generationConfig": {"candidateCount": -1}}, "generation_config.candidate_count"),
        ({"generationConfig": {"responseModalities": [1]}}, "generation_config.response_modalities"),
        ({"generationConfig": {"responseMimeType": 1}}, "generation_config.response_mime_type"),
        (
            {"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 2}},
            "generation_config.max_output_tokens",
        ),
        ({"generationConfig": {}, "generation_config": {}}, "generation_config"),
        ({"contents": "Hello"}, "contents[0]"),
        ({"contents": [7]}, "contents[0]"),
        ({"contents": [{"parts": "Hello"}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"text": 5}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"text": 5, "thought": True}]}]}, "contents[0].parts[0].text"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png"}}]}]},
         "contents[0].parts[0].inline_data.data"),
        ({"contents": [{"parts": [{"inlineData": {}, "inline_data": {}}]}]},
         "contents[0].parts[0].inline_data"),
        ({"systemInstruction": "Be kind"}, "system_instruction"),
        ({"tools": ["x"]}, "tools[0]"),
        ({"cachedContent": 5}, "cached_content"),
        ({"serviceTier": 1}, "service_tier"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_googles_words(more: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as refused:
        generate(**more)
    assert refused.value.param == param
    assert param.rpartition(".")[2].partition("[")[0] in refused.value.message


def test_one_object_may_stand_without_its_list() -> None:
    call = asked(
        contents={"parts": {"text": "Hello"}},
        tools={"function_declarations": {"name": "look"}},
        system_instruction={"parts": {"text": "Be kind"}},
    )
    assert (call.messages, call.tools, call.unbounded) == (2, 2, None)
    assert "Be kind" in call.prompt_text()
    assert body_of(call) == call.body


def test_a_written_maximum_leaves_the_clients_own_object_alone() -> None:
    config = {"temperature": 0.5, "max_output_tokens": None}
    for name in ("generationConfig", "generation_config"):
        call = generate(**{name: config})
        made = body_of(call, maximum=70)
        assert made[name] == {"temperature": 0.5, "maxOutputTokens": 70}
        assert call.body[name] is config
        assert config == {"temperature": 0.5, "max_output_tokens": None}
    assert body_of(generate(), maximum=70)["generationConfig"] == {"maxOutputTokens": 70}
    nothing = body_of(generate(generationConfig=None, generation_config={"topK": 1}), maximum=70)
    assert nothing["generation_config"] == {"topK": 1, "maxOutputTokens": 70}
    assert nothing["generationConfig"] is None


def test_a_model_in_the_body_becomes_the_targets() -> None:
    assert "model" not in body_of(generate())
    assert body_of(generate(model="models/flash"))["model"] == "models/gemini-2.5-flash"
    place = "projects/p/locations/l/publishers/google/models/"
    assert body_of(generate(model=f"{place}flash"))["model"] == f"{place}gemini-2.5-flash"
    requests = [{"model": "models/flash", "content": {"parts": [{"text": "a"}]}} for _ in range(2)]
    batch = asked("batchEmbedContents", requests=requests)
    assert {each["model"] for each in body_of(batch)["requests"]} == {"models/gemini-2.5-flash"}
    assert requests[0]["model"] == "models/flash"


@pytest.mark.parametrize(
    ("stray", "sent"),
    [
        (False, False),
        ("0", "0"),
        (["a", {"model": "models/flash"}], ["a", {"model": "models/gemini-2.5-flash"}]),
        ({"model": "models/flash"}, [{"model": "models/gemini-2.5-flash"}]),
    ],
)
def test_field_of_another_operation_is_left_to_google(stray: Any, sent: Any) -> None:
    call = asked("embedContent", content={"parts": [{"text": "a"}]}, requests=stray)
    assert body_of(call)["requests"] == sent


@pytest.mark.parametrize(
    "tool",
    ["googleSearch", "google_search", "codeExecution", "urlContext", "googleMaps", "fileSearch",
     "computerUse", "googleSearchRetrieval", "mcpServers", "somethingNew"],
)  # fmt: skip
def test_a_tool_that_runs_at_google_has_no_bound(tool: str) -> None:
    assert generate(tools=[{"functionDeclarations": []}, {tool: {}}]).unbounded == f"tools[1].{tool}"
    assert generate(tools=[{tool: None}]).unbounded is None
    assert asked("countTokens", **HELLO, tools=[{tool: {}}]).free


def test_a_dearer_tier_that_no_list_prices_has_no_bound() -> None:
    assert generate(serviceTier="priority").unbounded == "service_tier"
    for tier, known in (("flex", "flex"), ("standard", "default"), ("SERVICE_TIER_FLEX", "flex")):
        call = generate(service_tier=tier)
        assert (call.service_tier, call.unbounded) == (known, None)
    assert generate(serviceTier="unspecified").service_tier is None


def test_pictures_are_bounded_by_their_number() -> None:
    data = "A" * 400_000
    call = with_part(inline("image/png", data))
    assert (call.images, call.has_media, call.fills_context) == (1, True, False)
    bound = input_bound(call, call.forwarded("m", maximum=None, ask_usage=False))
    assert call.image_tokens < bound < call.image_tokens + 1_000


def test_sound_is_bounded_by_its_bytes_where_it_cannot_be_leaner() -> None:
    for data in (b"RIFF....WAVE", b"ID3....", b"\xff\xfb\x90\x00"):
        call = with_part(inline("audio/wav", data))
        assert (call.has_media, call.fills_context) == (True, False)
    for data in (b"fLaC", b"OggS", b"", b"FORM"):
        assert with_part(inline("audio/mp3", data)).fills_context


def test_a_text_in_base64_is_bounded_by_the_text() -> None:
    plain = with_part(inline("text/plain", b"x" * 900))
    assert (plain.repeated_bytes, plain.has_media, plain.fills_context) == (0, False, False)
    # A ligature of three bytes that a tokenizer may take apart into eighteen letters and signs.
    swelling = "\ufdfa" * 300
    encoded = b64encode(swelling.encode()).decode()
    call = with_part(inline("text/csv", encoded))
    body = call.forwarded("m", maximum=None, ask_usage=False)
    assert input_bound(call, body) >= 33 * 300
    assert with_part(inline("text/plain", "A")).repeated_bytes == 0  # no base64


@pytest.mark.parametrize(
    "part",
    [
        inline("video/mp4", b"film"),
        inline("application/pdf", b"%PDF"),
        inline("", b"something"),
        {"fileData": {"fileUri": "gs://a/b", "mimeType": "text/plain"}},
        {"file_data": {"file_uri": "https://youtu.be/x"}},
        {"somethingNew": {}},
        {"functionResponse": {"name": "f", "response": {}, "parts": [inline("video/mp4", b"film")]}},
        {"function_response": {"name": "f", "parts": {"fileData": {}}}},
    ],
)
def test_what_cannot_be_seen_may_fill_the_context(part: dict[str, Any]) -> None:
    call = with_part(part)
    assert call.fills_context
    assert call.has_media
    price = BOOK.find("google", "gemini-2.5-flash", AT)
    assert price is not None
    body = call.forwarded("m", maximum=None, ask_usage=False)
    bound = ceiling(call, body, price)
    assert bound is not None
    assert bound.tokens.given == 1_048_576
    # 1,048,576 tokens at the dearest input rate, sound's $1.00 per million
    assert bound.at(0) == 1_048_576 * 1_000


def test_texts_functions_and_signatures_are_bounded_by_their_bytes() -> None:
    parts = [
        {"text": "a", "thought": True, "thoughtSignature": "AAAA"},
        {"function_call": {"name": "f", "args": {}}, "thought_signature": "BBBB"},
        {"functionResponse": {"name": "f", "response": {"x": 1}, "parts": [inline("image/png", b"png")]}},
        {"executableCode": {"code": "1"}},
        {"codeExecutionResult": {"output": "1"}},
        {"text": "b", "fileData": None, "videoMetadata": {}},
    ]
    call = asked(contents=[{"parts": parts}], cachedContent=None)
    assert not call.fills_context
    assert call.images == 1
    assert "AAAA" not in call.prompt_text()
    assert "BBBB" not in call.prompt_text()
    assert generate(cachedContent="cachedContents/abc").fills_context


def test_what_a_model_answers_in_pictures_or_sound_is_held_at_its_price() -> None:
    price = BOOK.find("google", "gemini-2.5-flash-image", AT)
    assert price is not None
    for more in ({}, {"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}):
        call = generate(**more)
        bound = ceiling(call, call.forwarded("m", maximum=None, ask_usage=False), price)
        assert bound is not None
        assert bound.output_pico == 30_000_000  # $30 per million: it may answer with pictures unasked
    assert generate(generationConfig={"responseModalities": "AUDIO"}).has_media
    assert generate(generationConfig={"speechConfig": {}}).has_media
    assert not generate(generationConfig={"responseModalities": ["TEXT"]}).has_media


def test_thoughts_are_within_the_maximum() -> None:
    price = BOOK.find("google", "gemini-2.5-flash", AT)
    assert price is not None
    config = {"maxOutputTokens": 100, "thinkingConfig": {"thinkingBudget": 24_576}}
    call = generate(generationConfig=config)
    bound = ceiling(call, call.forwarded("m", maximum=None, ask_usage=False), price)
    assert bound is not None
    assert bound.at(bound.maximum) - bound.at(0) == 100 * 2_500


def test_embeddings_are_of_something() -> None:
    one = asked("embedContent", content={"parts": [{"text": "a"}]})
    assert (one.messages, one.produces_tokens, one.prompt_text()) == (1, False, "a")
    many = asked("predict", instances=[{"content": "a", "task_type": "X"}, {"content": "b"}])
    assert many.messages == 2
    for surface, body in (
        ("embedContent", {}),
        ("embedContent", {"content": None}),
        ("batchEmbedContents", {"requests": []}),
        ("batchEmbedContents", {"requests": [{}]}),
        ("predict", {"instances": [{"prompt": "a picture"}]}),
        ("predict", {}),
    ):
        with pytest.raises(BadRequest):
            asked(surface, **body)
    film = asked("embedContent", content={"parts": [inline("video/mp4", b"film")]})
    assert film.fills_context
