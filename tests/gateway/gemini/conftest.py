"""A gateway whose providers are the simulated Gemini and Vertex AI, and Google's own client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from gateway.settings import Settings
from simulator.process import Simulator
from tests.gateway.conftest import PATIENT
from tests.stack import Stack, running_stack

FLASH = "gemini-2.5-flash"
DOLLAR = 10**9
Client = Callable[..., genai.Client]


def providers(root: str) -> dict[str, Any]:
    """The known providers at another address, as an operator would write them."""
    common = {"api_key": "AIza-simulated", "timeouts": PATIENT.model_dump()}
    return {
        "gemini": {"base_url": f"{root}/v1beta/openai", **common},
        "vertex": {"base_url": f"{root}/v1beta1/projects/ours/locations/here", "auth": "bearer", **common},
    }


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    with running_stack(Settings.model_validate({"providers": providers(simulator.root)})) as started:
        yield started


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Client]:
    """Makes Google's client for a key; by default for a new one without limits."""
    made: list[genai.Client] = []

    def make(secret: str | None = None, *, vertex: bool = False, **headers: str) -> genai.Client:
        secret = secret or stack.key()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        options = types.HttpOptions(
            base_url=stack.base_url.removesuffix("/v1"), timeout=60_000, headers=named
        )
        if vertex:
            token = Credentials(token=secret)  # as a Bearer; nothing is fetched from anywhere
            place = {"project": "theirs", "location": "europe-west4"}
            client = genai.Client(vertexai=True, credentials=token, http_options=options, **place)
        else:
            client = genai.Client(api_key=secret, http_options=options)
        made.append(client)
        return client

    yield make
    for each in made:
        each.close()


def said(text: str, directive: str = "") -> str:
    """What a user says, with a wish to the simulated provider."""
    return f"{text} [[simulate: {directive}]]" if directive else text


def header(answer: Any, name: str) -> str:
    """A header of an answer, as Google's client shows it."""
    headers = {each.lower(): value for each, value in dict(answer.sdk_http_response.headers).items()}
    return str(headers[name])
