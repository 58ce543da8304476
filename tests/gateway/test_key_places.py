"""Where a key may stand: in any of the headers that SDKs have for it, on every dialect's surfaces."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from gateway.dialects import SURFACES
from tests.stack import Stack

HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "observe-key")
PATHS = {each.dialect.name: each.paths[0].replace("{model}", "m") for each in SURFACES.values() if each.paths}
"""Dialect -> a path where it is spoken."""


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stack.base_url.removesuffix("/v1"), timeout=60) as opened:
        yield opened


@pytest.fixture(scope="module")
def narrow(stack: Stack) -> str:
    """A key that is known, and may not do any of this."""
    return stack.key(scopes=("models.read",))


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("header", HEADERS)
def test_a_key_is_found_there_and_refused_in_the_dialects_own_shape(
    http: httpx2.Client, narrow: str, dialect: str, header: str
) -> None:
    value = f"Bearer {narrow}" if header == "authorization" else narrow
    answer = http.post(PATHS[dialect], headers={header: value}, json={})
    assert (answer.status_code, answer.headers["x-should-retry"]) == (403, "false")
    assert "insufficient_scope" in answer.text
    told = {each.dialect for each in SURFACES.values() if each.dialect.name == dialect}.pop()
    if told.id_header is not None:
        assert answer.headers[told.id_header.decode()] == answer.headers["x-request-id"]


@pytest.mark.parametrize("dialect", PATHS)
def test_two_keys_and_no_key_are_refused(
    http: httpx2.Client, stack: Stack, narrow: str, dialect: str
) -> None:
    both = {"authorization": f"Bearer {narrow}", "x-api-key": stack.key()}
    answer = http.post(PATHS[dialect], headers=both, json={})
    assert answer.status_code == 401
    assert "conflicting_credentials" in answer.text
    answer = http.post(PATHS[dialect], json={})
    assert answer.status_code == 401
    assert "invalid_api_key" in answer.text


def test_only_googles_surfaces_take_a_key_from_the_query(http: httpx2.Client, narrow: str) -> None:
    for dialect, path in PATHS.items():
        answer = http.post(path, params={"key": narrow}, json={})
        assert answer.status_code == (403 if dialect == "gemini" else 401), dialect
