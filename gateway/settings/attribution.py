"""Settings of attribution: which headers say for whom a request is made, and what must be said."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from accounts.naming import FIELDS, HEADER_NAME, check_required
from gateway.settings.section import Section

PROPERTY, JSON = "property", "json"
"""What an alias can be beside a field: a prefix before the names of properties, a JSON object of names."""
_TAKEN = re.compile(
    r"(observe-|authorization\Z|x-api-key\Z|api-key\Z|x-goog-api-key\Z|content-|host\Z|transfer-encoding\Z"
    r"|idempotency-key\Z|x-stainless-|baggage\Z)"
)

SHIPPED_ALIASES = {
    "X-Customer-Id": "customer",
    "X-Feature-Key": "feature",
    "X-Litellm-Customer-Id": "customer",
    "Helicone-User-Id": "user",
    "Helicone-Property-*": PROPERTY,
    "X-Bf-Dim-*": PROPERTY,
    "X-Portkey-Metadata": JSON,
}
SHIPPED_NAMES = {
    "customer": "customer",
    "customer_id": "customer",
    "feature": "feature",
    "feature_key": "feature",
    "task_id": "task",
    "workspace": "workspace",
    "user": "user",
    "user_id": "user",
    "_user": "user",
    "trace_id": "trace",
}


class AttributionSettings(Section):
    """Headers of other tools, the names inside of them, and what every request must tell."""

    aliases: dict[str, str] = Field(default=SHIPPED_ALIASES)
    names: dict[str, str] = Field(default=SHIPPED_NAMES)
    required_headers: list[str] = Field(default=[])

    @field_validator("aliases")
    @classmethod
    def aliases_mean_something(cls, aliases: dict[str, str]) -> dict[str, str]:
        folded: dict[str, str] = {}
        for header, meaning in aliases.items():
            name, star = header.lower().removesuffix("*"), header.endswith("*")
            known = (PROPERTY,) if star else (*FIELDS, JSON)
            if meaning not in known:
                raise ValueError(f"{header}: {meaning!r} is unknown; known: {', '.join(known)}")
            if not HEADER_NAME.match(name):
                raise ValueError(
                    f"{header!r} is not a header's name, or the beginning of one with a * after it"
                )
            if _TAKEN.match(name) or (star and "observe-".startswith(name)):
                raise ValueError(f"{header} has a meaning of its own and cannot be an alias")
            if folded.setdefault(header.lower(), meaning) != meaning:
                raise ValueError(f"{header} is given twice, as {folded[header.lower()]} and as {meaning}")
        return aliases

    @field_validator("names")
    @classmethod
    def names_mean_something(cls, names: dict[str, str]) -> dict[str, str]:
        for name, meaning in names.items():
            if meaning not in FIELDS:
                raise ValueError(f"{name}: {meaning!r} is unknown; known: {', '.join(FIELDS)}")
        return names

    @field_validator("required_headers")
    @classmethod
    def required_can_be_given(cls, headers: list[str]) -> list[str]:
        check_required(headers)
        return headers
