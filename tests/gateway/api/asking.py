"""Asking the API in tests: with a key, and the answer's JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2

from tests.stack import Stack


class Asker:
    """A client with one key. `get("/api/limits")` gives the document; another status than `status` fails."""

    def __init__(self, http: httpx2.Client, secret: str | None) -> None:
        self._http = http
        self._headers = {} if secret is None else {"authorization": f"Bearer {secret}"}

    def ask(self, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
        answer = self._http.request(method, path, headers=self._headers | more.pop("headers", {}), **more)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json(parse_float=Decimal) if answer.content else None

    def get(self, path: str, *, status: int = 200, **params: Any) -> Any:
        return self.ask("GET", path, status=status, params=params)

    def post(self, path: str, body: Any = None, *, status: int = 200, **more: Any) -> Any:
        return self.ask("POST", path, status=status, json=body, **more)

    def patch(self, path: str, body: Any, *, status: int = 200) -> Any:
        return self.ask("PATCH", path, status=status, json=body)

    def delete(self, path: str, *, status: int = 200, **params: Any) -> Any:
        return self.ask("DELETE", path, status=status, params=params)


def all_pages(asker: Asker, path: str, field: str, **params: Any) -> list[Any]:
    """Every row of a list, a page at a time."""
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = asker.ask("GET", path, params={**params, **cursor})
        assert len(page[field]) <= params.get("limit", 50)
        found += page[field]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def chat(stack: Stack, secret: str, **headers: str) -> httpx2.Response:
    """One proxied request."""
    return httpx2.post(
        f"{stack.base_url}/chat/completions",
        json={"model": "gpt-4o-mini", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]},
        headers={"authorization": f"Bearer {secret}", **headers},
        timeout=60,
    )
