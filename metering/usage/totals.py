"""What one attempt used: inclusive totals with their subsets, normalised once in the dialect.

Every total includes its subsets: `input_tokens` counts cached, cache-writing, audio and image tokens too, and
`output_tokens` counts reasoning. Providers that report them apart (Anthropic's input excludes its cache) are
added up where their answer is read, never here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple


class Usage(NamedTuple):
    """Counts of one attempt, or of several added up. `extra`: other registry units as (name, quantity).

    A named tuple, because one is made for each attempt: a frozen dataclass of as many fields takes six times
    as long.
    """

    input_tokens: int = 0
    cache_read_input_tokens: int = 0
    cache_write_5m_input_tokens: int = 0
    cache_write_1h_input_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    cache_read_audio_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    requests: int = 1
    extra: tuple[tuple[str, int], ...] = ()

    def document(self) -> dict[str, int]:
        """Non-zero counts by unit name. `requests` always stands there, since its absence means one."""
        document = {name: count for name, count in zip(FIELDS, counts(self), strict=True) if count}
        document["requests"] = self.requests
        for name, count in self.extra:
            if count:
                document[name] = document.get(name, 0) + count
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, int]) -> Usage:
        """The usage that `document` describes; names that are not fields become `extra`."""
        known = (document.get(name, int(name == "requests")) for name in FIELDS)
        extra = tuple((name, count) for name, count in document.items() if name not in FIELDS)
        return cls._of(known, extra)

    def __add__(self, other: Usage) -> Usage:  # type: ignore[override]  # counts are added, not put in a row
        extra = dict(self.extra)
        for name, count in other.extra:
            extra[name] = extra.get(name, 0) + count
        sums = map(int.__add__, counts(self), counts(other))
        return self._of(sums, tuple(extra.items()))

    @classmethod
    def _of(cls, values: Iterable[int], extra: tuple[tuple[str, int], ...]) -> Usage:
        fields: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
        return cls(**fields, extra=extra)

    def contradiction(self) -> str | None:
        """A sentence naming both figures where a part exceeds its whole or a count is negative, else None."""
        for name, count in (*zip(FIELDS, counts(self), strict=True), *self.extra):
            if count < 0:
                return f"{name} is negative ({count})"
        for parts, whole in _PARTS:
            total, limit = sum(getattr(self, part) for part in parts), getattr(self, whole)
            if total > limit:
                return f"{' + '.join(parts)} ({total}) exceeds {whole} ({limit})"
        return None


# The count fields in order, and all of them read at once.
FIELDS: tuple[str, ...] = Usage._fields[:-1]
counts = itemgetter(slice(len(FIELDS)))

# Parts that do not overlap each other, and the whole that includes them. Cached and audio tokens do overlap
# (cached audio is both), so they are separate rows.
_PARTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("cache_read_input_tokens", "cache_write_5m_input_tokens", "cache_write_1h_input_tokens"),
        "input_tokens",
    ),
    (("input_audio_tokens", "input_image_tokens"), "input_tokens"),
    (("cache_read_audio_tokens",), "cache_read_input_tokens"),
    (("cache_read_audio_tokens",), "input_audio_tokens"),
    (("reasoning_output_tokens",), "output_tokens"),
    (("output_audio_tokens", "output_image_tokens"), "output_tokens"),
)
