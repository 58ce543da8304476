"""Models in Google's shape, and Google's words where there is nothing."""

from __future__ import annotations

import httpx2
import pytest
from google.genai import errors

from gateway.dialects.gemini_lists import one_model, page
from gateway.errors import BadRequest
from tests.gateway.gemini.conftest import FLASH, Client
from tests.stack import Stack


def test_models_are_listed_in_googles_shape(client: Client, stack: Stack) -> None:
    official = client()
    found = {model.name: model for model in official.models.list(config={"page_size": 7})}
    assert len(found) > 7
    model = found[f"models/gemini/{FLASH}"] if f"models/gemini/{FLASH}" in found else found[f"models/{FLASH}"]
    assert {"generateContent", "countTokens"} <= set(model.supported_actions)
    one = official.models.get(model=FLASH)
    assert (one.name, one.display_name) == (f"models/{FLASH}", FLASH)
    listed = httpx2.get(f"{stack.base_url}/models", headers={"Authorization": f"Bearer {stack.key()}"})
    assert {f"models/{each['id']}" for each in listed.json()["data"]} == set(found)


def test_what_is_not_there_is_told_in_googles_words(client: Client, stack: Stack) -> None:
    with pytest.raises(errors.ClientError) as missing:
        client().models.get(model="nonesuch-9")
    assert (missing.value.code, missing.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ClientError) as unknown:
        client("obs_unknown").models.get(model=FLASH)
    assert (unknown.value.code, unknown.value.status) == (401, "UNAUTHENTICATED")
    root = stack.base_url.removesuffix("/v1")
    for method, path in (("POST", f"/v1beta/models/{FLASH}:tune"), ("GET", "/v1beta/files")):
        answer = httpx2.request(method, root + path, headers={"x-goog-api-key": stack.key()})
        assert answer.status_code in (404, 405)
        assert answer.json()["error"]["status"] in ("NOT_FOUND", "UNIMPLEMENTED")
    keyed = httpx2.get(f"{root}/v1beta/models/{FLASH}?key={stack.key()}")
    assert keyed.json()["name"] == f"models/{FLASH}"
    chat = httpx2.get(f"{stack.base_url}/models?key={stack.key()}")
    assert chat.json()["error"]["type"] == "authentication_error"


def test_a_page_has_a_token_for_the_next_one() -> None:
    models = [(f"m{number}", ("generateContent", "countTokens")) for number in range(5)]
    first = page(models, {"pageSize": "2"})
    assert [each["name"] for each in first["models"]] == ["models/m0", "models/m1"]
    last = page(models, {"pageSize": "2", "pageToken": "4"})
    assert ([each["name"] for each in last["models"]], "nextPageToken" in last) == (["models/m4"], False)
    assert page([], {}) == {"models": []}
    assert one_model(models[0])["supportedGenerationMethods"] == ["countTokens"]  # no streams
    for wrong in ({"pageSize": "x"}, {"pageToken": "-1"}, {"pageToken": "9" * 10}):
        with pytest.raises(BadRequest):
            page(models, wrong)
