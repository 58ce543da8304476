"""Bedrock's Converse, seen through Amazon's own SDK; bills worked by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import Any
from zlib import crc32

import botocore.exceptions
import pytest
from botocore.eventstream import ChecksumMismatch

from simulator.bedrock.frames import event
from simulator.process import Simulator
from tests.simulator.amazon import MICRO, SONNET, amazon, user
from tests.simulator.conftest import until_quiet

NOVA_2 = "us.amazon.nova-2-lite-v1:0"
OSS = "openai.gpt-oss-120b-1:0"
WEATHER = {
    "toolSpec": {
        "name": "get_weather",
        "inputSchema": {
            "json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        },
    }
}
THINK = {"thinking": {"type": "enabled", "budget_tokens": 1024}}


@pytest.fixture(scope="module")
def bedrock(running_simulator: Simulator) -> Iterator[Any]:
    client = amazon(running_simulator.root)
    yield client
    client.close()


def test_a_plain_answer_and_its_bill(bedrock: Any, simulator: Simulator) -> None:
    answer = bedrock.converse(modelId=MICRO, messages=user("What is the capital of Mexico?"))
    assert answer["output"]["message"]["role"] == "assistant"
    assert answer["output"]["message"]["content"][0]["text"]
    assert answer["stopReason"] == "end_turn"
    assert answer["metrics"]["latencyMs"] > 0
    # 3 for the answer, 4 for the message, 7 pieces.
    assert answer["usage"] == {"inputTokens": 14, "outputTokens": 40, "totalTokens": 54}
    # 14 x $0.035/M + 40 x $0.14/M = $0.00000609
    assert simulator.total_nano() == 6_090
    assert answer["ResponseMetadata"]["RequestId"] == simulator.bill()["requests"][0]["id"]


def test_a_stream_says_the_same_event_by_event(bedrock: Any, simulator: Simulator) -> None:
    text = "Hi [[simulate: tokens=3]]"
    events = list(bedrock.converse_stream(modelId=SONNET, messages=user(text))["stream"])
    kinds = [next(iter(each)) for each in events]
    assert kinds == [
        "messageStart", *["contentBlockDelta"] * 3, "contentBlockStop", "messageStop", "metadata"
    ]  # fmt: skip
    plain = bedrock.converse(modelId=SONNET, messages=user(text))
    said = "".join(each["contentBlockDelta"]["delta"]["text"] for each in events[1:4])
    assert said == plain["output"]["message"]["content"][0]["text"]
    assert events[-1]["metadata"]["usage"] == plain["usage"]
    assert plain["usage"] == {
        "inputTokens": 17, "outputTokens": 3, "totalTokens": 20,
        "cacheReadInputTokens": 0, "cacheWriteInputTokens": 0,
    }  # fmt: skip
    assert (
        Fraction(simulator.bill()["total_exact"])
        == 2 * (17 * Fraction("3.30") + 3 * Fraction("16.50")) / 10**6
    )


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_is_used_with_input_that_its_schema_allows(bedrock: Any, streamed: bool) -> None:
    asked = {"modelId": SONNET, "messages": user("Weather?"), "toolConfig": {"tools": [WEATHER]}}
    if streamed:
        events = list(bedrock.converse_stream(**asked)["stream"])
        (start,) = [each["contentBlockStart"] for each in events if "contentBlockStart" in each]
        use = dict(start["start"]["toolUse"])
        deltas = [each["contentBlockDelta"]["delta"] for each in events if "contentBlockDelta" in each]
        use["input"] = json.loads("".join(delta["toolUse"]["input"] for delta in deltas))
        (stop,) = [each["messageStop"]["stopReason"] for each in events if "messageStop" in each]
        usage = events[-1]["metadata"]["usage"]
    else:
        answer = bedrock.converse(**asked)
        (block,) = answer["output"]["message"]["content"]
        use, stop, usage = block["toolUse"], answer["stopReason"], answer["usage"]
    assert (use["name"], use["input"], stop) == ("get_weather", {"city": "simulated"}, "tool_use")
    assert use["toolUseId"].startswith("tooluse_")
    # get|_|weather 3 and {|"|city|"|:|"|simulated|"|} 9
    assert usage["outputTokens"] == 12


def test_a_tool_that_has_answered_is_not_used_again_unless_demanded(bedrock: Any) -> None:
    messages = [
        *user("Weather? [[simulate: tokens=2]]"),
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": "t", "name": "get_weather", "input": {}}}],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t", "content": [{"text": "sunny"}]}}]},
    ]
    asked = {"modelId": SONNET, "messages": messages}
    answer = bedrock.converse(**asked, toolConfig={"tools": [WEATHER]})
    assert (answer["stopReason"], answer["usage"]["outputTokens"]) == ("end_turn", 2)
    again = bedrock.converse(**asked, toolConfig={"tools": [WEATHER], "toolChoice": {"any": {}}})
    assert again["stopReason"] == "tool_use"


def test_thoughts_are_shown_signed_and_paid_as_output(bedrock: Any, simulator: Simulator) -> None:
    text = "Hi [[simulate: tokens=3 reasoning=5]]"
    answer = bedrock.converse(modelId=SONNET, messages=user(text), additionalModelRequestFields=THINK)
    thought, said = answer["output"]["message"]["content"]
    assert len(thought["reasoningContent"]["reasoningText"]["text"].split()) == 5
    assert thought["reasoningContent"]["reasoningText"]["signature"]
    assert said["text"]
    assert answer["usage"]["outputTokens"] == 8
    events = list(
        bedrock.converse_stream(modelId=SONNET, messages=user(text), additionalModelRequestFields=THINK)[
            "stream"
        ]
    )
    deltas = [each["contentBlockDelta"] for each in events if "contentBlockDelta" in each]
    shown = [delta["delta"]["reasoningContent"] for delta in deltas if "reasoningContent" in delta["delta"]]
    assert (
        "".join(each.get("text", "") for each in shown)
        == thought["reasoningContent"]["reasoningText"]["text"]
    )
    assert "signature" in shown[-1]
    assert [delta["contentBlockIndex"] for delta in deltas] == [0] * 6 + [1] * 3
    entries = simulator.bill()["requests"]
    assert [(entry["completion_tokens"], entry["reasoning"]) for entry in entries] == [(8, 5), (8, 5)]


def test_without_being_asked_to_a_model_does_not_think_and_some_cannot_but_think(bedrock: Any) -> None:
    text = user("Hi [[simulate: tokens=3 reasoning=5]]")
    assert bedrock.converse(modelId=SONNET, messages=text)["usage"]["outputTokens"] == 3
    open_weights = bedrock.converse(modelId=OSS, messages=text)
    assert open_weights["usage"]["outputTokens"] == 8
    shown = open_weights["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"]
    assert set(shown) == {"text"}


@pytest.mark.parametrize("streamed", [False, True])
def test_thoughts_that_are_not_shown_are_paid_all_the_same(
    bedrock: Any, simulator: Simulator, streamed: bool
) -> None:
    asked = {
        "modelId": NOVA_2,
        "messages": user("Hi [[simulate: tokens=3]]"),
        "additionalModelRequestFields": {
            "reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}
        },
    }
    if streamed:
        events = list(bedrock.converse_stream(**asked)["stream"])
        thought = events[1]["contentBlockDelta"]["delta"]["reasoningContent"]["text"]
        usage = events[-1]["metadata"]["usage"]
    else:
        answer = bedrock.converse(**asked)
        thought = answer["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"]["text"]
        usage = answer["usage"]
    assert (thought, usage["outputTokens"]) == ("[REDACTED]", 131)
    (entry,) = simulator.bill()["requests"]
    assert (entry["reasoning"], entry["completion_tokens"]) == (128, 131)
    assert Fraction(entry["exact"]) == (17 * Fraction("0.33") + 131 * Fraction("2.75")) / 10**6


def test_what_is_marked_is_written_then_read_each_at_its_price(bedrock: Any, simulator: Simulator) -> None:
    asked = {
        "modelId": SONNET,
        "system": [{"text": " word" * 1_500}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"text": " more" * 200},
                    {"cachePoint": {"type": "default"}},
                    {"text": "[[simulate: tokens=1]]"},
                ],
            }
        ],
    }
    # System: 4 + 1,500. Message: 4 + 200, then [|[|simulate|:| tokens|=|1|]|] = 9 and 3 for the answer.
    first = bedrock.converse(**asked)["usage"]
    assert (first["inputTokens"], first["cacheReadInputTokens"], first["cacheWriteInputTokens"]) == (
        12,
        0,
        1_708,
    )
    assert first["cacheDetails"] == [{"ttl": "5m", "inputTokens": 204}, {"ttl": "1h", "inputTokens": 1_504}]
    assert first["totalTokens"] == 1_721
    second = bedrock.converse(**asked)["usage"]
    assert (second["inputTokens"], second["cacheReadInputTokens"], second["cacheWriteInputTokens"]) == (
        12,
        1_708,
        0,
    )
    assert "cacheDetails" not in second
    asked["messages"][0]["content"][0]["text"] = " other" * 200
    third = bedrock.converse(**asked)["usage"]
    assert (third["cacheReadInputTokens"], third["cacheWriteInputTokens"]) == (1_504, 204)
    one, two, three = simulator.bill()["requests"]
    # $3.30/M fresh, $0.33/M read, $4.125/M for 5 minutes, $6.60/M for an hour, $16.50/M out.
    said = 12 * Fraction("3.30") + Fraction("16.50")
    assert Fraction(one["exact"]) == (said + 204 * Fraction("4.125") + 1_504 * Fraction("6.60")) / 10**6
    assert Fraction(two["exact"]) == (said + 1_708 * Fraction("0.33")) / 10**6
    assert Fraction(three["exact"]) == (said + 1_504 * Fraction("0.33") + 204 * Fraction("4.125")) / 10**6


def test_short_prefixes_are_not_cached_and_some_models_have_no_cache(bedrock: Any) -> None:
    point = {"cachePoint": {"type": "default"}}
    short = bedrock.converse(modelId=MICRO, system=[{"text": " word" * 1_019}, point], messages=user("Hi"))
    assert short["usage"]["cacheWriteInputTokens"] == 0
    enough = bedrock.converse(modelId=MICRO, system=[{"text": " word" * 1_020}, point], messages=user("Hi"))
    assert enough["usage"]["cacheWriteInputTokens"] == 1_024
    with pytest.raises(bedrock.exceptions.ValidationException, match="doesn't support the cachePoint field"):
        bedrock.converse(modelId=OSS, system=[{"text": "word"}, point], messages=user("Hi"))


def test_cache_points_are_four_at_most_and_the_longest_kept_come_first(bedrock: Any) -> None:
    short, long = ({"cachePoint": {"type": "default", "ttl": ttl}} for ttl in ("5m", "1h"))
    for blocks, said in (([short, long], "must not come after"), ([short] * 5, "A maximum of 4")):
        content = [{"text": "Hi"}, *blocks]
        with pytest.raises(bedrock.exceptions.ValidationException, match=said):
            bedrock.converse(modelId=SONNET, messages=[{"role": "user", "content": content}])


def test_the_maximum_holds_for_thoughts_too(bedrock: Any) -> None:
    answer = bedrock.converse(
        modelId=SONNET,
        messages=user("Hi [[simulate: reasoning=4]]"),
        inferenceConfig={"maxTokens": 6},
        additionalModelRequestFields=THINK,
    )
    assert (answer["stopReason"], answer["usage"]["outputTokens"]) == ("max_tokens", 6)
    with pytest.raises(bedrock.exceptions.ValidationException, match="exceeds the model limit of 10000"):
        bedrock.converse(modelId=MICRO, messages=user("Hi"), inferenceConfig={"maxTokens": 10_001})


def test_structure_is_as_its_schema_says(bedrock: Any) -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer", "minimum": 7}}}
    shape = {"jsonSchema": {"name": "N", "schema": json.dumps(schema)}}
    answer = bedrock.converse(
        modelId=OSS,
        messages=user("Hi [[simulate: reasoning=0]]"),
        outputConfig={"textFormat": {"type": "json_schema", "structure": shape}},
    )
    assert json.loads(answer["output"]["message"]["content"][0]["text"]) == {"n": 7}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "ValidationException"),
        (403, "AccessDeniedException"),
        (404, "ResourceNotFoundException"),
        (408, "ModelTimeoutException"),
        (424, "ModelErrorException"),
        (429, "ThrottlingException"),
        (500, "InternalServerException"),
        (503, "ServiceUnavailableException"),
    ],
)
def test_errors_are_the_sdks_own_and_free(bedrock: Any, simulator: Simulator, status: int, kind: str) -> None:
    with pytest.raises(getattr(bedrock.exceptions, kind)) as caught:
        bedrock.converse(modelId=MICRO, messages=user(f"[[simulate: status={status}]]"))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert simulator.total_nano() == 0


def test_a_failing_stream_raises_in_the_sdk_and_bills_what_was_sent(
    bedrock: Any, simulator: Simulator
) -> None:
    text = "[[simulate: tokens=9 error_in_stream=4]]"
    with pytest.raises(botocore.exceptions.EventStreamError, match="modelStreamErrorException"):
        list(bedrock.converse_stream(modelId=MICRO, messages=user(text))["stream"])
    named = "[[simulate: tokens=9 error_in_stream=4 code=ThrottlingException]]"
    with pytest.raises(botocore.exceptions.EventStreamError, match="throttlingException"):
        list(bedrock.converse_stream(modelId=MICRO, messages=user(named))["stream"])
    assert [entry["completion_tokens"] for entry in simulator.bill()["requests"]] == [4, 4]


def test_a_corrupted_frame_is_noticed(bedrock: Any) -> None:
    with pytest.raises(ChecksumMismatch):
        list(bedrock.converse_stream(modelId=MICRO, messages=user("[[simulate: malformed=sse]]"))["stream"])


def test_usage_may_be_missing_or_come_twice(bedrock: Any) -> None:
    for wish, times in (("no_usage", 0), ("usage_twice", 2)):
        stream = bedrock.converse_stream(modelId=MICRO, messages=user(f"[[simulate: {wish}]]"))["stream"]
        assert sum("metadata" in each for each in stream) == times


async def test_a_stream_that_is_left_is_billed_until_that_was_noticed(
    bedrock: Any, simulator: Simulator
) -> None:
    text = "[[simulate: tokens=2000 pace_ms=5]]"
    stream = bedrock.converse_stream(modelId=MICRO, messages=user(text))["stream"]
    seen = 0
    for each in stream:
        seen += "contentBlockDelta" in each
        if seen == 3:
            break
    stream.close()
    await until_quiet(simulator)
    (entry,) = simulator.bill()["requests"]
    assert entry["complete"] is False
    assert 3 <= entry["completion_tokens"] < 2_000


def test_a_frame_is_as_the_specification_says() -> None:
    made = event("messageStart", b'{"role":"assistant"}')
    total, named, prelude = struct.unpack(">III", made[:12])
    assert (total, prelude) == (len(made), crc32(made[:8]))
    assert struct.unpack(">I", made[-4:])[0] == crc32(made[:-4])
    assert made[12 + named : -4] == b'{"role":"assistant"}'
    found, at = {}, 12
    while at < 12 + named:
        size = made[at]
        name = made[at + 1 : at + 1 + size].decode()
        kind, length = struct.unpack(">BH", made[at + 1 + size : at + 4 + size])
        at += 4 + size
        found[name] = (kind, made[at : at + length].decode())
        at += length
    assert found == {
        ":event-type": (7, "messageStart"),
        ":content-type": (7, "application/json"),
        ":message-type": (7, "event"),
    }
