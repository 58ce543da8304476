"""Habits: which fields of a chat request one provider takes, and which of them it obeys. Pure.

A field that a provider does not know is refused by some and ignored by others. Refused, a request that was
meant for another target fails here for nothing; ignored, a maximum would be no maximum, and the ceiling that
was held on its strength no ceiling. So what is refused is left out, and a maximum is written in the field
that is obeyed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.dialects.exchange import Exchange

MAXIMUM_FIELDS = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class Habits:
    """One provider's.

    maximum_field: what carries the output maximum when the gateway writes one. maximum_fields: those that are
    obeyed. completion_only: beginnings of names of models that obey max_completion_tokens alone. dropped:
    what is left out.
    """

    maximum_field: str = "max_tokens"
    maximum_fields: frozenset[str] = frozenset(MAXIMUM_FIELDS)
    completion_only: tuple[str, ...] = ()
    dropped: frozenset[str] = frozenset()

    @property
    def plain(self) -> bool:
        """Whatever a client sends is taken as it is."""
        return not self.dropped and not self.completion_only and len(self.maximum_fields) > 1

    def obeyed(self, model: str) -> frozenset[str]:
        """The fields that bound the output of this model."""
        if self.completion_only and model.startswith(self.completion_only):
            return frozenset({"max_completion_tokens"})
        return self.maximum_fields

    def changes(self, call: Exchange, model: str) -> dict[str, Any]:
        """{field: new value, or None to leave it out} that make the call's body fit; empty where it does."""
        body = call.body
        found: dict[str, Any] = dict.fromkeys(self.dropped & body.keys())
        if call.maximum is not None and call.only_maximum_field is None:
            obeyed = self.obeyed(model)
            given = [name for name in MAXIMUM_FIELDS if body.get(name) is not None]
            strange = [name for name in given if name not in obeyed]
            if strange:
                found.update(dict.fromkeys(strange))
                if len(strange) == len(given):
                    found[self.writes(model)] = call.maximum
        return found

    def writes(self, model: str) -> str:
        """The field that carries a maximum for this model."""
        obeyed = self.obeyed(model)
        return self.maximum_field if self.maximum_field in obeyed else min(obeyed)
