"""What is known of providers by their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.settings import Settings, settings_document, settings_from_document
from metering.pricelist import listed_providers
from routing import presets

WANTED = {
    "anthropic",
    "cohere",
    "vertex",
    "openai",
    "azure",
    "azure-deployments",
    "groq",
    "mistral",
    "deepseek",
    "xai",
    "together",
    "fireworks",
    "openrouter",
    "cerebras",
    "huggingface",
    "perplexity",
    "gemini",
    "bedrock",
    "vllm",
    "ollama",
}
FOLDER = Path(presets.__file__).parent / "providers"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in presets.known():
        about = presets.preset(name) or {}
        for variable in [*about.get("env", ()), *about.get("url_env", ()), *about.get("url_values", ())]:
            monkeypatch.delenv(variable, raising=False)


def test_these_are_known() -> None:
    assert set(presets.known()) == WANTED


@pytest.mark.parametrize("name", sorted(WANTED))
def test_a_name_is_enough_or_the_address_is_all_that_lacks(name: str) -> None:
    about = presets.preset(name)
    assert about is not None
    given = {} if presets.address(about) else {"base_url": "https://r.example/openai/v1"}
    provider = Settings(providers={name: given}).providers[name]  # type: ignore[dict-item]
    assert provider.base_url.startswith("http")
    assert provider.api_key_env or about.get("key_optional")
    assert provider.prices is None or "{" in provider.prices or provider.prices in listed_providers()
    assert about["title"]
    if isinstance(provider.models, list):
        assert about["notes"]


@pytest.mark.parametrize("name", sorted(WANTED))
def test_every_file_names_its_sources(name: str) -> None:
    comments = re.findall(r"^# .*", (FOLDER / f"{name}.toml").read_text(), re.MULTILINE)
    assert any("http" in comment or "/docs" in comment for comment in comments)


def test_anything_can_be_overridden() -> None:
    provider = Settings(
        providers={"groq": {"base_url": "http://here/v1", "dropped_fields": [], "models": ["m"]}}  # type: ignore[dict-item]
    ).providers["groq"]
    assert (provider.base_url, provider.dropped_fields, provider.models) == ("http://here/v1", [], ["m"])
    assert provider.prices == "groq"


def test_a_credential_goes_to_its_own_address_only_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-1")
    known = Settings(providers={"groq": {}}).providers["groq"]  # type: ignore[dict-item]
    assert known.secret == "gsk-1"
    moved = Settings(providers={"groq": {"base_url": "https://elsewhere.example/v1"}}).providers["groq"]  # type: ignore[dict-item]
    assert moved.secret is None


def test_a_known_variable_alone_configures_its_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-1")
    monkeypatch.setenv("GOOGLE_API_KEY", "g-1")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "az-1")  # without its endpoint there is nobody to ask
    found = Settings().providers
    assert set(found) == {"groq", "gemini"}
    assert found["gemini"].secret == "g-1"
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com/")
    assert Settings().providers["azure"].base_url == "https://r.openai.azure.com/openai/v1"


def test_a_region_or_an_address_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("OLLAMA_HOST", "gpu-box:11434")
    found = Settings(providers={"bedrock": {}, "ollama": {}}).providers  # type: ignore[dict-item]
    assert found["bedrock"].base_url == "https://bedrock-runtime.eu-central-1.amazonaws.com/openai/v1"
    assert found["ollama"].base_url == "http://gpu-box:11434/v1"


def test_a_preset_under_another_name_and_a_wrong_one() -> None:
    provider = Settings(providers={"cheap": {"preset": "deepseek"}}).providers["cheap"]  # type: ignore[dict-item]
    assert (provider.base_url, provider.prices) == ("https://api.deepseek.com", "deepseek")
    with pytest.raises(ValidationError, match="no provider 'nope' is known; known: anthropic, azure"):
        Settings(providers={"cheap": {"preset": "nope"}})  # type: ignore[dict-item]
    with pytest.raises(ValidationError, match="base_url is missing"):
        Settings(providers={"unheard-of": {}})  # type: ignore[dict-item]


def test_several_secrets_cross_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-a")
    settings = Settings(
        providers={
            "openai": {  # type: ignore[dict-item]
                "api_keys": [{"api_key_env": "A_KEY", "weight": 2}, {"api_key": "sk-b"}],
                "regions": [{"base_url": "https://x.example/v1", "api_key": "sk-x"}],
            }
        }
    )
    document = settings_document(settings)
    monkeypatch.delenv("A_KEY")
    again = settings_from_document(document).providers["openai"]
    assert [key.secret for key in again.api_keys] == ["sk-a", "sk-b"]
    assert [region.secret for region in again.regions] == ["sk-x"]
    assert again.api_keys[0].weight == 2
    assert "sk-" not in repr(settings)


def test_what_admission_relies_on_cannot_be_dropped() -> None:
    with pytest.raises(ValidationError, match="max_tokens, stream cannot be left out"):
        Settings(providers={"groq": {"dropped_fields": ["stream", "max_tokens"]}})  # type: ignore[dict-item]
