"""`auth` of a provider: its short form, what it refuses and how, and where its secrets go."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gateway.serve.validation import complaints, remarks
from gateway.settings import ConfigError, Settings, load_settings, settings_document, settings_from_document
from routing.presets import filled

BEDROCK = "base_url: https://bedrock-runtime.eu-west-1.amazonaws.com"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [each for each in os.environ if each.startswith(("AWS_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def loaded(provider: str) -> Settings:
    Path("config.yaml").write_text(f"providers: {{p: {{{provider}, models: []}}}}\n")
    return load_settings()


def refused(provider: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(provider)
    return caught.value.complaints


def test_a_word_is_a_kind_with_its_defaults() -> None:
    for kind in ("bearer", "token", "api-key", "x-api-key", "x-goog-api-key", "none", "google"):
        short = loaded(f"base_url: http://h/v1, auth: {kind}").providers["p"].auth
        assert short == loaded(f"base_url: http://h/v1, auth: {{kind: {kind}}}").providers["p"].auth
        assert (short.kind, short.is_a_header) == (kind, kind != "google")
    assert loaded("base_url: http://h/v1").providers["p"].auth.kind == "bearer"


def test_a_kind_that_is_none_is_told_with_those_that_are() -> None:
    for auth in ("sigv5", "{kind: sigv5}"):
        (found,) = refused(f"base_url: http://h/v1, auth: {auth}")
        assert found.startswith("config.yaml: providers.p.auth.kind: Input should be 'bearer', 'token'")
        assert found.endswith("(found 'sigv5')")


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ("{kind: bearer, profile: work}", "profile: only for kind sigv4, and this one is bearer"),
        ("{kind: google, region: eu-west-1}", "region: only for kind sigv4, and this one is google"),
        (
            "{kind: sigv4, credentials_file: f}",
            "credentials_file: only for kind google, and this one is sigv4",
        ),
        (
            "{kind: sigv4, secret_access_key: 'very-secret'}",
            "access_key_id (or ..._env) is missing beside secret_access_key",
        ),
        (
            "{kind: sigv4, session_token_env: T}",
            "access_key_id and secret_access_key (or ..._env) is missing beside session_token",
        ),
        (
            "{kind: sigv4, profile: work, access_key_id: A, secret_access_key: 'very-secret'}",
            "either profile ('work') or access_key_id, secret_access_key, not both",
        ),
    ],
)
def test_what_does_not_belong_together_is_named_and_no_secret_shown(auth: str, said: str) -> None:
    (found,) = refused(f"{BEDROCK}, auth: {auth}")
    assert found == f"config.yaml: providers.p.auth: {said}"


def test_a_complaint_about_a_secret_does_not_show_it() -> None:
    found = refused(
        f"{BEDROCK}, auth: {{kind: sigv4, access_key_id: [very-secret], session_token: [very-secret]}}"
    )
    assert len(found) == 2
    assert "very-secret" not in str(found)


@pytest.mark.parametrize("field", ["api_key: k", "api_key_env: K", "api_keys: [{api_key: k}]"])
def test_a_key_beside_a_credential_of_another_kind_is_refused(field: str) -> None:
    for kind in ("sigv4", "google"):
        (found,) = refused(f"{BEDROCK}, auth: {kind}, {field}")
        name = field.partition(":")[0]
        assert found == f"config.yaml: providers.p: {name}: not beside auth.kind {kind}, which has its own"


def test_a_region_s_own_key_is_refused_too() -> None:
    regions = (
        "regions: [{base_url: https://a.googleapis.com}, {base_url: https://b.googleapis.com, api_key: k}]"
    )
    (found,) = refused(f"{regions}, auth: google")
    assert (
        found
        == "config.yaml: providers.p: regions[1].api_key: not beside auth.kind google, which has its own"
    )


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/x", "us-gov-west-1"),
        ("https://vpce-0a1-b2.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://bedrock-mantle.eu-central-1.api.aws/v1", "eu-central-1"),
        ("https://us-east-1.example.com", None),
        ("http://127.0.0.1:9/model", None),
    ],
)
def test_the_region_is_read_from_amazon_s_host_or_asked_for(url: str, region: str | None) -> None:
    if region is None:
        (found,) = refused(f"base_url: '{url}', auth: sigv4")
        assert (
            found == f"config.yaml: providers.p: auth.region: {url} does not name one; set it, as us-east-1"
        )
    else:
        assert loaded(f"base_url: '{url}', auth: sigv4").providers["p"].auth.region_of(url) == region
    auth = loaded(f"base_url: '{url}', auth: {{kind: sigv4, region: eu-west-3}}").providers["p"].auth
    assert auth.region_of(url) == "eu-west-3"


def test_secrets_reach_a_worker_without_its_environment_and_nothing_else_shows_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KEY_ID", "AKID")
    monkeypatch.setenv("SECRET", "very-secret")
    settings = loaded(
        f"{BEDROCK}, auth: {{kind: sigv4, access_key_id_env: KEY_ID, secret_access_key_env: SECRET, "
        "session_token: very-secret-too}"
    )
    assert "very-secret" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()
    piped = json.loads(json.dumps(settings_document(settings)))
    monkeypatch.delenv("KEY_ID")
    monkeypatch.delenv("SECRET")
    auth = settings_from_document(piped).providers["p"].auth
    secrets = [auth.secret(name) for name in ("access_key_id", "secret_access_key", "session_token")]
    assert secrets == ["AKID", "very-secret", "very-secret-too"]
    assert auth.has_keys


def test_what_is_named_and_not_there_is_told_before_a_request_fails() -> None:
    settings = loaded(f"{BEDROCK}, auth: {{kind: sigv4, access_key_id_env: A_B, secret_access_key: s}}")
    assert (
        "providers.p.auth.access_key_id_env: the environment variable A_B is not set; no request can go there"
        in remarks(settings)
    )
    settings = loaded(
        "base_url: https://aiplatform.googleapis.com, auth: {kind: google, credentials_file: no.json}"
    )
    assert "providers.p.auth.credentials_file: no such file: no.json" in complaints(settings)


def test_a_known_provider_s_key_is_not_taken_where_requests_are_signed() -> None:
    assert filled("bedrock", {})["api_key_env"] == "AWS_BEARER_TOKEN_BEDROCK"
    for auth in ("sigv4", {"kind": "sigv4", "profile": "work"}, {"profile": "work"}):
        assert "api_key_env" not in filled("bedrock", {"auth": auth})
    auth = loaded("preset: bedrock, auth: {profile: work}").providers["p"].auth
    assert (auth.kind, auth.profile) == ("sigv4", "work")


def test_fields_of_one_kind_name_it() -> None:
    assert loaded(f"{BEDROCK}, auth: {{region: eu-west-3}}").providers["p"].auth.kind == "sigv4"
    google = loaded("base_url: https://h.googleapis.com, auth: {credentials_file: f}").providers["p"].auth
    assert google.kind == "google"
    (found,) = refused(f"{BEDROCK}, auth: {{credentials_file: f, region: eu-west-3}}")
    assert "only for kind" in found


@pytest.mark.parametrize(
    ("given", "stays"),
    [
        ({}, True),
        ({"base_url": "https://europe-west4-aiplatform.googleapis.com/v1"}, True),
        (
            {"regions": [{"base_url": "https://a.googleapis.com"}, {"base_url": "https://googleapis.com"}]},
            True,
        ),
        ({"base_url": "https://googleapis.com.example.org/v1"}, False),
        ({"base_url": "https://notgoogleapis.com/v1"}, False),
        ({"regions": [{"base_url": "https://a.googleapis.com"}, {"base_url": "http://127.0.0.1:1"}]}, False),
        ({"base_url": "http://127.0.0.1:1", "auth": "google"}, True),
    ],
)
def test_a_token_goes_to_another_domain_only_when_it_is_said_so(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, object], stays: bool
) -> None:
    known = {"base_url": "https://aiplatform.googleapis.com/v1", "auth": "google", "key_optional": True}
    monkeypatch.setattr("routing.presets.preset", lambda _: known)
    assert (filled("vertex", given).get("auth") == "google") == stays
