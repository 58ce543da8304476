"""Which providers can be asked what InvokeModel is asked."""

from __future__ import annotations

import pytest

from gateway.dialects import SURFACES

BODY = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 16,
    "messages": [{"role": "user", "content": "Hello"}],
}


@pytest.mark.parametrize(
    ("operations", "served"),
    [
        ({"bedrock.invoke", "bedrock.invoke.stream"}, True),
        ({"messages"}, False),
        ({"rawPredict", "rawPredict.stream"}, False),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_body_in_invoke_model_goes_to_bedrock_alone(
    operations: set[str], served: bool, stream: bool
) -> None:
    call = SURFACES["bedrock.invoke"].call(BODY, model="anthropic.claude-haiku-4-5", stream=stream)
    assert (call.fitted(operations) is call) is served
    assert (call.fitted(operations) is None) is not served
