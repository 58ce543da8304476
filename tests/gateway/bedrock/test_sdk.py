"""boto3 through the gateway: Converse and InvokeModel, whole and streamed; the gateway signs for Bedrock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import orjson
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from gateway.settings import ProviderSettings, Settings
from metering.event import CostEvent
from simulator.bedrock.signature import ACCESS_KEY, SECRET_KEY
from simulator.process import Simulator
from tests.gateway.conftest import PATIENT
from tests.stack import Stack, running_stack, wait_until

NOVA = "us.amazon.nova-micro-v1:0"
CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
DOLLAR = 10**9
PATHS = {
    "bedrock.converse": "/model/{model}/converse",
    "bedrock.converse.stream": "/model/{model}/converse-stream",
    "bedrock.invoke": "/model/{model}/invoke",
    "bedrock.invoke.stream": "/model/{model}/invoke-with-response-stream",
}
TOOL: Any = {
    "toolSpec": {
        "name": "weather",
        "description": "The weather in a city.",
        "inputSchema": {
            "json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        },
    }
}


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    provider = ProviderSettings.model_validate(
        {
            "base_url": simulator.root,
            "auth": {
                "kind": "sigv4",
                "region": "us-east-1",
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
            },
            "prices": "aws",
            "models": [NOVA, CLAUDE],
            "timeouts": PATIENT.model_dump(),
            "paths": PATHS,
        }
    )
    with running_stack(Settings(providers={"bedrock": provider})) as started:
        yield started


def client_of(stack: Stack, secret: str) -> Any:
    """A client with our key. Over TLS its environment names it; without, boto3 sends none by itself."""
    made = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=stack.base_url.removesuffix("/v1"),
        config=Config(retries={"total_max_attempts": 1}, signature_version=UNSIGNED),
    )

    def authorize(request: Any, **_: Any) -> None:
        request.headers["Authorization"] = f"Bearer {secret}"

    made.meta.events.register("before-send.bedrock-runtime", authorize)
    return made


@pytest.fixture
def client(stack: Stack) -> Any:
    return client_of(stack, stack.key(limits={"month": 10 * DOLLAR}))


def settled(stack: Stack, simulator: Simulator, answer: Any) -> CostEvent:
    """The event of a request, whose cost is what the provider billed."""
    request_id = answer["ResponseMetadata"]["RequestId"]
    wait_until(lambda: any(event.id == request_id for event in stack.events()))
    event = stack.event(request_id)
    (billed,) = simulator.bill(request_id)["requests"]
    assert (event.status, event.usage_source, event.cost_status) == ("succeeded", "provider", "priced")
    assert event.cost_nano == billed["nano"]
    return event


def messages(text: str) -> Any:
    return [{"role": "user", "content": [{"text": text}]}]


@pytest.mark.parametrize("model", [NOVA, CLAUDE])
def test_converse(client: Any, stack: Stack, simulator: Simulator, model: str) -> None:
    answer = client.converse(
        modelId=model,
        messages=messages("Hello. [[simulate: tokens=12]]"),
        inferenceConfig={"maxTokens": 100},
    )
    assert answer["output"]["message"]["content"][0]["text"]
    event = settled(stack, simulator, answer)
    assert event.usage is not None
    assert event.usage["output_tokens"] == answer["usage"]["outputTokens"] == 12


@pytest.mark.parametrize("model", [NOVA, CLAUDE])
def test_converse_stream(client: Any, stack: Stack, simulator: Simulator, model: str) -> None:
    answer = client.converse_stream(modelId=model, messages=messages("Hello. [[simulate: tokens=40]]"))
    events = list(answer["stream"])
    assert "metadata" in events[-1]
    assert "".join(
        event["contentBlockDelta"]["delta"].get("text", "")
        for event in events
        if "contentBlockDelta" in event
    )
    event = settled(stack, simulator, answer)
    assert event.stream
    assert event.usage is not None
    assert event.usage["output_tokens"] == 40


def test_tools_and_a_maximum(client: Any, stack: Stack, simulator: Simulator) -> None:
    answer = client.converse(
        modelId=CLAUDE,
        messages=messages("Weather in Paris?"),
        toolConfig={"tools": [TOOL], "toolChoice": {"any": {}}},
    )
    assert answer["stopReason"] == "tool_use"
    settled(stack, simulator, answer)
    answer = client.converse(
        modelId=NOVA,
        messages=messages("Long. [[simulate: tokens=300]]"),
        inferenceConfig={"maxTokens": 20},
    )
    assert answer["stopReason"] == "max_tokens"
    event = settled(stack, simulator, answer)
    assert event.usage is not None
    assert event.usage["output_tokens"] == 20


def test_the_gateway_writes_a_maximum_where_the_budget_leaves_no_more(
    stack: Stack, simulator: Simulator
) -> None:
    poor = client_of(stack, stack.key(limits={"month": 400_000}))
    answer = poor.converse(modelId=NOVA, messages=messages("Long. [[simulate: tokens=100]]"))
    settled(stack, simulator, answer)
    asked = orjson.loads(simulator.received()[-1]["body"])
    assert asked["inferenceConfig"]["maxTokens"] >= 100


def body(text: str, **more: Any) -> bytes:
    return orjson.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 200,
            "messages": [{"role": "user", "content": text}],
            **more,
        }
    )


def test_invoke_and_its_stream(client: Any, stack: Stack, simulator: Simulator) -> None:
    answer = client.invoke_model(modelId=CLAUDE, body=body("Hello. [[simulate: tokens=12]]"))
    assert orjson.loads(answer["body"].read())["usage"]["output_tokens"] == 12
    settled(stack, simulator, answer)
    answer = client.invoke_model_with_response_stream(
        modelId=CLAUDE, body=body("Hello. [[simulate: tokens=40]]")
    )
    chunks = [orjson.loads(event["chunk"]["bytes"]) for event in answer["body"]]
    assert chunks[-1]["type"] == "message_stop"
    event = settled(stack, simulator, answer)
    assert event.stream
    assert event.usage is not None
    assert event.usage["output_tokens"] == 40


@pytest.mark.parametrize(
    ("model", "text", "code"),
    [
        ("no-such-model", "x", "ResourceNotFoundException"),
        (NOVA, "[[simulate: status=429]]", "ThrottlingException"),
        (NOVA, "[[simulate: status=400]]", "ValidationException"),
        (NOVA, "[[simulate: status=500]]", "ModelErrorException"),
    ],
)
def test_refusals_are_boto_s_own_exceptions(client: Any, model: str, text: str, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        client.converse(modelId=model, messages=messages(text))
    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["Error"]["Message"]


def test_keys_and_budgets(stack: Stack) -> None:
    for secret, code, status in (
        ("obs_" + "x" * 49, "UnrecognizedClientException", 401),
        (stack.key(scopes=("models.read",)), "AccessDeniedException", 403),
        (stack.key(limits={"month": 1}), "ServiceQuotaExceededException", 402),
    ):
        with pytest.raises(ClientError) as refused:
            client_of(stack, secret).converse(modelId=NOVA, messages=messages("x"))
        assert refused.value.response["Error"]["Code"] == code
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_stream_that_is_cut_ends_with_an_exception_and_keeps_its_doubt(
    client: Any, stack: Stack, simulator: Simulator
) -> None:
    answer = client.converse_stream(
        modelId=NOVA, messages=messages("Cut. [[simulate: tokens=200 close_after_chunks=20]]")
    )
    with pytest.raises(EventStreamError):
        list(answer["stream"])
    request_id = answer["ResponseMetadata"]["RequestId"]
    wait_until(lambda: any(event.id == request_id for event in stack.events()))
    event = stack.event(request_id)
    (billed,) = simulator.bill(request_id)["requests"]
    assert (event.status, event.cost_status) == ("cut", "estimated")
    assert event.cost_nano is not None
    assert billed["nano"] <= event.cost_nano + (event.doubted_nano or 0)
