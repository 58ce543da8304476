"""Vertex AI as an operator sets it up: a project, and the key file of a service account."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from gateway.settings import Settings
from simulator.process import Simulator
from tests.gateway.conftest import PATIENT
from tests.gateway.credentials.asked import answering
from tests.gateway.credentials.test_google import TokenServer, written
from tests.gateway.gemini.conftest import FLASH, header
from tests.simulator.gemini import ask, stream
from tests.stack import running_stack


@pytest.mark.wide
def test_a_service_accounts_token_goes_to_our_project_and_the_clients_nowhere(
    simulator: Simulator, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    tokens = TokenServer(key)
    with answering(tokens) as giver:
        file = written(tmp_path / "account.json", key, giver.url)
        vertex = {
            "base_url": f"{simulator.root}/v1beta1/projects/ours/locations/europe-west4",
            "auth": {"credentials_file": str(file)},
            "timeouts": PATIENT.model_dump(),
        }
        with running_stack(Settings.model_validate({"providers": {"vertex": vertex}})) as stack:
            secret = stack.key(limits={"month": 10**9})
            options = types.HttpOptions(base_url=stack.base_url.removesuffix("/v1"), timeout=60_000)
            with genai.Client(
                vertexai=True,
                project="theirs",
                location="us-central1",
                credentials=Credentials(token=secret),
                http_options=options,
            ) as client:
                answer = ask(client, "Hello", model=FLASH)
                pieces = stream(client, "Hello", model=FLASH)
            events = [stack.event(header(each, "x-request-id")) for each in (answer, pieces[0])]
    assert tokens.given == 1
    arrived = simulator.received()[-2:]
    model = f"/v1beta1/projects/ours/locations/europe-west4/publishers/google/models/{FLASH}"
    assert [each["path"] for each in arrived] == [
        f"{model}:generateContent",
        f"{model}:streamGenerateContent",
    ]
    for each in arrived:
        headers = {name.lower(): value for name, value in dict(each["headers"]).items()}
        assert headers["authorization"].endswith("en-1")  # the simulator remembers no more of token-1
        assert "theirs" not in repr(each)
        assert secret not in repr(each)
    billed = [simulator.bill(event.id)["requests"][0]["nano"] for event in events]
    assert [event.cost_nano for event in events] == billed
    assert {event.provider for event in events} == {"vertex"}
