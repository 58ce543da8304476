"""Recorded traffic of real providers, to hold the simulated ones against."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import orjson
import pytest

from tests.metering.recorded import FOLDER

OPEN = ("input", "args", "query", "groundingMetadata", "image", "values")
"""Members whose inside is the caller's or the world's, not the provider's."""


def recorded(provider: str) -> list[dict[str, Any]]:
    """Every recorded exchange of a provider; skips the test where there are none."""
    path = FOLDER / f"{provider}.jsonl"
    if not path.exists():
        pytest.skip(f"no recordings at {path}")
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def streamed(text: str) -> list[dict[str, Any]]:
    """The JSON documents of a stream of server-sent events."""
    lines = (line for line in text.splitlines() if line.startswith("data: "))
    return [orjson.loads(line.removeprefix("data: ")) for line in lines]


def paths(document: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Every member of a document: where it is, by the `type` of the objects around it, and its JSON type."""
    if isinstance(document, list):
        for each in document:
            yield from paths(each, before + "[]")
        return
    if not isinstance(document, dict):
        return
    kind = f"<{document['type']}>" if isinstance(document.get("type"), str) else ""
    for name, value in document.items():
        where = f"{before}{kind}.{name}"
        yield where, "null" if value is None else type(value).__name__
        if name not in OPEN:
            yield from paths(value, where)


def disorder(names: list[str], known: list[list[str]]) -> list[tuple[str, str]]:
    """Pairs of neighbours that no known order has, and at least one has the other way round."""
    wrong = []
    for one, two in pairwise(names):
        orders = [order for order in known if one in order and two in order]
        if orders and not any(order.index(one) < order.index(two) for order in orders):
            wrong.append((one, two))
    return wrong
