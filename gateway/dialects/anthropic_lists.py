"""Lists of models in Anthropic's shape: pages with a cursor at each end.

https://platform.claude.com/docs/en/api/models-list. A day of publication that is not known is told as
Anthropic tells it: by the beginning of an epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import BadRequest

UNKNOWN_DAY = "1970-01-01T00:00:00Z"
LIMIT_MAX = 1_000


def one_model(name: str) -> dict[str, Any]:
    """One model by name."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": UNKNOWN_DAY,
        "lifecycle": "active",
    }


def page(names: Sequence[str], query: Mapping[str, str]) -> dict[str, Any]:
    """The page of models that `limit`, `after_id` and `before_id` ask for; all of them by default."""
    names, limit = list(names), _limit(query.get("limit"))
    after, before = query.get("after_id"), query.get("before_id")
    if after is not None:
        names = names[_place(names, after, "after_id") + 1 :]
    if before is not None:
        names = names[: _place(names, before, "before_id")]
    shown = names[-limit:] if before is not None and after is None else names[:limit]
    return {
        "data": [one_model(name) for name in shown],
        "has_more": len(shown) < len(names),
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }


def _limit(asked: str | None) -> int:
    if asked is None:
        return LIMIT_MAX
    if not asked.isdecimal() or not 1 <= int(asked) <= LIMIT_MAX:
        raise BadRequest(f"limit: Input should be from 1 to {LIMIT_MAX}", param="limit", code="invalid_value")
    return int(asked)


def _place(names: list[str], name: str, param: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise BadRequest(f"{param}: no such model", param=param, code="invalid_value") from None
