"""The feature: a part of the operator's product that plans grant and requests name. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

_KEY = re.compile(r"[\x21-\x2e\x30-\x7e]{1,128}")


@dataclass(frozen=True, slots=True)
class Feature:
    """`enabled` False: nobody may use it, whatever their plan says."""

    key: str
    name: str = ""
    enabled: bool = True

    def __post_init__(self) -> None:
        check_feature(self.key)


def check_feature(key: str) -> str:
    """`key` itself when a feature can be called so, else ValueError: names of limits have a `/` between."""
    if not _KEY.fullmatch(key) or key == "*":
        raise ValueError(
            f"feature {key!r}: write 1 to 128 visible ASCII characters without `/`, and not * alone"
        )
    return key
