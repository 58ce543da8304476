"""Names in paths: a slash that is written %2F belongs to a name, and divides nothing.

Servers decode a path before anybody matches it, and customers/a%2Fb would be customers/a/b. `apart` matches
again what was sent: there such a slash is HELD, until the place that has the name gives it back. HELD is no
character of any decoded path.
"""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import unquote

from starlette.convertors import Convertor, register_url_convertor

HELD = "\udc2f"
"""Half a character, which UTF-8 has no bytes for."""
_PLACE = re.compile(r"\{(\w+)\}")


class _Name(Convertor[str]):
    """A place in a route's path: one name."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        return value.replace(HELD, "/")

    def to_string(self, value: str) -> str:
        return value.replace("/", "%2F")


register_url_convertor("tollkeeper_name", _Name())


def route_path(path: str) -> str:
    """A table's path, /api/customers/{customer}, as routes need it: the names at its places are whole."""
    return _PLACE.sub(r"{\1:tollkeeper_name}", path)


def apart(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The ASGI scope with slashes of names held apart in its path; mostly the scope itself."""
    raw: bytes = scope["raw_path"]
    if b"%2f" not in raw and b"%2F" not in raw:
        return scope
    parts = (unquote(part).replace("/", HELD) for part in raw.decode("ascii", "replace").split("/"))
    return {**scope, "path": "/".join(parts)}


def plain(path: str) -> str:
    """A path to tell people of."""
    return path.replace(HELD, "%2F")
