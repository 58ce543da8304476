"""What is asked of entitlements: bodies, names in addresses, and pages. BadRequest names what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request as HttpRequest

from budgets.limit import AMOUNT_MAX, KINDS
from gateway.api.evaluations import UNITS_MAX
from gateway.errors import BadRequest

BODY_BYTES_MAX = 64 * 1024


async def read_object(request: HttpRequest) -> dict[str, Any]:
    """The body's JSON object."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise BadRequest(f"The body is larger than {BODY_BYTES_MAX} bytes.")
        parts.append(part)
    try:
        found = orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(found, dict):
        raise BadRequest("The body must be a JSON object.")
    return found


def read_name(body: Mapping[str, Any], field: str) -> str:
    """The name in a field, which must be there."""
    value = body.get(field)
    if not isinstance(value, str) or not 1 <= len(value) <= 128 or not all("!" <= c <= "~" for c in value):
        raise BadRequest(f"{field}: write 1 to 128 visible ASCII characters.", param=field)
    return value


def read_requested(wishes: Any) -> dict[str, int]:
    """How much of each kind a request would take; money in nano-USD."""
    if wishes is None:
        return {}
    fitting = isinstance(wishes, dict) and all(
        kind in KINDS and type(amount) is int and 0 <= amount <= AMOUNT_MAX for kind, amount in wishes.items()
    )
    if not fitting:
        raise BadRequest(
            f"requested: write whole numbers by kind (money in nano-USD); kinds: {', '.join(KINDS)}.",
            param="requested",
        )
    return dict(wishes)


def read_plain(value: str, field: str) -> str:
    """A name in an address."""
    return read_name({field: value}, field)


def read_units(usage: Any) -> int | None:
    """The units of a wish to use something; None: there is none."""
    if usage is None:
        return None
    units = usage.get("usageUnits", 1) if isinstance(usage, dict) else None
    if type(units) is not int or not 0 <= units <= UNITS_MAX:
        raise BadRequest("usage.usageUnits: write a whole number.", param="usage")
    return units


def read_flow(context: Any) -> str | None:
    """The flow that the question is a part of, told back."""
    found = context.get("flowId") if isinstance(context, dict) else context
    if found is not None and (not isinstance(found, str) or len(found) > 64):
        raise BadRequest("context.flowId: write at most 64 characters.", param="context")
    return found


def read_page(request: HttpRequest) -> tuple[int, int]:
    """limit and offset of a list."""
    found = []
    for name, usual, least, most in (("limit", 50, 1, 200), ("offset", 0, 0, 1_000_000)):
        text = request.query_params.get(name, str(usual))
        if not (text.isascii() and text.isdigit() and len(text) <= 7 and least <= int(text) <= most):
            raise BadRequest(f"{name}: write a whole number from {least} to {most}.", param=name)
        found.append(int(text))
    unknown = sorted(set(request.query_params) - {"limit", "offset"})
    if unknown:
        raise BadRequest(
            f"Unknown query field: {unknown[0][:60]}; known: limit, offset.", code="unknown_field"
        )
    return found[0], found[1]
