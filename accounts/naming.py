"""Naming: what a request can say of whom it is for, and in which headers of our own. No I/O."""

from __future__ import annotations

import re
from collections.abc import Sequence

FIELDS = ("customer", "feature", "task", "workspace", "user", "trace")
"""What a request can name; a header of another tool can stand for each."""
OWN_HEADERS = {
    "observe-customer": "customer",
    "observe-feature": "feature",
    "observe-task-id": "task",
    "observe-workspace": "workspace",
    "observe-user": "user",
    "observe-trace-id": "trace",
}
OWN_PROPERTY = "observe-property-"
SOURCES = ("metadata", "baggage")
"""Where else than in headers of their own customer and the rest may be named, by a key's permission: the
body's `metadata`, the W3C header `baggage`."""
REQUIRED_MAX = 16
HEADER_NAME = re.compile(r"[a-z0-9!#$%&'+.^_`|~-]+\Z")

NAME = re.compile(r"(?!\*\Z)[\x21-\x7e]{1,128}\Z")
"""What customers, features, workspaces, tasks, users and traces can be called."""
NAME_EXPECTED = "1 to 128 visible ASCII characters, and not * alone, which stands for each"


def check_name(noun: str, name: str) -> str:
    """`name` itself when something can be called so, else ValueError."""
    if not NAME.match(name):
        raise ValueError(f"{noun} {name!r}: write {NAME_EXPECTED}")
    return name


def check_required(headers: Sequence[str]) -> None:
    """Raise ValueError for a header that no request can be asked for, naming those that can."""
    if len(headers) > REQUIRED_MAX:
        raise ValueError(f"at most {REQUIRED_MAX} headers can be required, not {len(headers)}")
    for header in headers:
        name = header.lower()
        own = name.removeprefix(OWN_PROPERTY)
        if name not in OWN_HEADERS and (own == name or not HEADER_NAME.match(own)):
            known = ", ".join(each.title() for each in OWN_HEADERS)
            raise ValueError(f"{header!r} cannot be required; known: {known}, Observe-Property-...")


def check_sources(sources: Sequence[str]) -> None:
    """Raise ValueError for a source that is none."""
    for source in sources:
        if source not in SOURCES:
            raise ValueError(f"source {source!r} is unknown; known: {', '.join(SOURCES)}")
