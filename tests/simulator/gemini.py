"""What the tests of Gemini's dialect ask."""

from __future__ import annotations

from typing import Any

from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from simulator.process import Simulator

WEATHER: Any = {
    "function_declarations": [
        {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {
                "type": "OBJECT",
                "properties": {"city": {"type": "STRING"}},
                "required": ["city"],
            },
        }
    ]
}


def at_google(simulator: Simulator, **more: Any) -> genai.Client:
    """Google's client at the Gemini API."""
    options = types.HttpOptions(base_url=simulator.root, timeout=10_000, **more)
    return genai.Client(api_key="AIza-test", http_options=options)


def at_vertex(simulator: Simulator) -> genai.Client:
    """Google's client at Vertex AI."""
    options = types.HttpOptions(base_url=simulator.root, timeout=10_000)
    # A token that is already there: nothing is fetched from anywhere.
    token = Credentials(token="ya29.test")
    return genai.Client(
        vertexai=True, project="project", location="europe-west4", credentials=token, http_options=options
    )


def ask(client: genai.Client, contents: Any = "Hello", **more: Any) -> Any:
    """One answer; `model` or else the configuration."""
    model = more.pop("model", "gemini-2.5-flash")
    return client.models.generate_content(model=model, contents=contents, config=more or None)


def stream(client: genai.Client, contents: Any = "Hello", **more: Any) -> list[Any]:
    """Every piece of a stream."""
    model = more.pop("model", "gemini-2.5-flash")
    return list(client.models.generate_content_stream(model=model, contents=contents, config=more or None))
