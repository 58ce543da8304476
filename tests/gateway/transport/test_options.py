"""Origins and options."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway.transport import Origin, TransportOptions, UnusableOptions, build_transport


@pytest.mark.parametrize(
    ("url", "authority", "path", "literal"),
    [
        ("https://api.openai.com/v1", "api.openai.com", "/v1", False),
        ("https://API.OpenAI.com", "api.openai.com", "", False),
        ("http://127.0.0.1:8788/v1/", "127.0.0.1:8788", "/v1", True),
        ("http://[::1]:8080", "[::1]:8080", "", True),
        ("https://host:443/", "host", "", False),
        ("http://host:443", "host:443", "", False),
    ],
)
def test_a_base_url_is_split_into_its_origin_and_path(
    url: str, authority: str, path: str, literal: bool
) -> None:
    origin = Origin.parse(url)
    assert (origin.authority, origin.path, origin.literal is not None) == (authority, path, literal)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com",
        "ftp://host",
        "http://user:secret@host",
        "http://host?x",
        "http://host/#f",
        "http://host:0",
        "http://host:70000",
        "http://ho st",
        "http://host\r\nX: y",
        "http://[::1",
    ],
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(UnusableOptions):
        Origin.parse(url)


@pytest.mark.parametrize(
    ("origin", "asked", "allowed"),
    [
        ("http://127.0.0.1:1", None, True),
        ("http://10.0.0.1", None, True),
        ("http://[::1]", None, True),
        ("http://0.0.0.0:8000", None, True),
        ("http://100.64.0.7", None, True),
        ("http://localhost", None, True),
        ("http://box.localhost", None, True),
        ("http://169.254.169.254", None, False),
        ("https://api.openai.com", None, False),
        ("http://ollama:11434", None, False),
        ("http://ollama:11434", True, True),
        ("http://127.0.0.1", False, False),
    ],
)
def test_private_addresses_are_allowed_where_the_operator_wrote_one_or_said_so(
    origin: str, asked: bool | None, allowed: bool
) -> None:
    options = TransportOptions(origin, allow_private=asked)
    assert options.private_allowed(options.parsed_origin()) is allowed


def test_options_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(UnusableOptions, match="no path"):
        build_transport(TransportOptions("https://api.openai.com/v1"))
    with pytest.raises(UnusableOptions, match="max_connections"):
        build_transport(TransportOptions("https://api.openai.com", max_connections=0))


def test_the_alternative_is_imported_only_when_it_is_chosen_and_its_absence_is_explained() -> None:
    code = """
import sys
for name in ("aiohttp", "httpx_aiohttp"):
    sys.modules[name] = None
from gateway.transport import TransportOptions, UnusableOptions, build_transport
options = TransportOptions("http://127.0.0.1:1")
build_transport(options)
try:
    build_transport(options, "aiohttp")
except UnusableOptions as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "tollkeeper[aiohttp]" in done.stdout
