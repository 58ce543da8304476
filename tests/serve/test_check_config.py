"""`tollkeeper check-config`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.check_config import check_config
from routing.presets import known


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def check(tmp_path: Path, text: str) -> Result:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return CliRunner().invoke(check_config, [str(path)])


def test_good_configuration_is_ok(tmp_path: Path) -> None:
    done = check(tmp_path, "providers: {openai: {base_url: 'http://h/v1', api_key: x}}")
    assert (done.exit_code, done.stdout) == (0, "ok\n")


def test_every_complaint_is_printed_and_the_code_is_1(tmp_path: Path) -> None:
    done = check(tmp_path, "server: {prot: 1, port: -1}")
    assert done.exit_code == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2


def test_form_is_right_but_files_and_routes_are_not(tmp_path: Path) -> None:
    done = check(
        tmp_path,
        "providers:\n  one: {base_url: 'http://h/v1', ca_bundle: /absent.pem}\n"
        "routes:\n  fast: {targets: [{provider: one, model: m}], assumed_max_output: 10, "
        "minimum_output: 20}\n",
    )
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        "providers.one.ca_bundle: no such file: /absent.pem",
        "routes.fast.minimum_output: 20 is more than assumed_max_output (10)",
    ]


@pytest.mark.parametrize(
    ("provider", "complaint"),
    [
        ("{base_url: 'http://h/v1'}", "providers.one.models: there is no price list 'one'"),
        ("{base_url: 'http://h/v1', prices: nobody}", "providers.one.prices: no price list 'nobody'"),
    ],
)
def test_price_list_that_does_not_exist_is_named(tmp_path: Path, provider: str, complaint: str) -> None:
    done = check(tmp_path, f"providers:\n  one: {provider}")
    assert done.exit_code == 1
    assert done.stderr.startswith(complaint)


def test_unknown_unit_of_a_price_is_named(tmp_path: Path) -> None:
    done = check(tmp_path, "prices: [{provider: openai, model: m, usd_per_million: {inputs: 1}}]")
    assert done.exit_code == 1
    assert "prices[0].usd_per_million.inputs: unknown unit" in done.stderr


def test_missing_credential_is_a_note_and_no_complaint(tmp_path: Path) -> None:
    done = check(tmp_path, "providers: {openai: {base_url: 'http://h/v1', api_key_env: NOT_SET_ANYWHERE}}")
    assert done.exit_code == 0
    assert "NOT_SET_ANYWHERE is not set" in done.stderr


def test_missing_file_is_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(check_config, [str(tmp_path / "absent.yaml")])
    assert done.exit_code == 1
    assert "absent.yaml: no such file" in done.stderr


def test_every_known_provider_is_a_good_configuration(tmp_path: Path) -> None:
    placed = {"azure", "azure-deployments", "vertex"}
    names = [name for name in known() if name not in placed]
    azure = "azure: {base_url: 'https://r.example/openai/v1'}"
    vertex = "vertex: {base_url: 'https://aiplatform.googleapis.com/v1/projects/ours/locations/global'}"
    done = check(
        tmp_path, f"providers: {{{', '.join(f'{name}: {{}}' for name in names)}, {azure}, {vertex}}}"
    )
    assert (done.exit_code, done.stdout) == (0, "ok\n"), done.stderr


def test_a_known_provider_without_an_address_says_what_its_address_is_made_of(tmp_path: Path) -> None:
    done = check(tmp_path, "providers: {vertex: {}}")
    assert done.exit_code == 1
    assert "GOOGLE_CLOUD_PROJECT" in done.stderr


def test_a_credential_that_is_missing_among_several_is_a_note(tmp_path: Path) -> None:
    done = check(tmp_path, "providers: {openai: {api_keys: [{api_key_env: NOT_SET_A}, {api_key: x}]}}")
    assert done.exit_code == 0
    assert "providers.openai.api_keys: the environment variable NOT_SET_A is not set" in done.stderr
