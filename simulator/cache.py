"""The provider's prompt cache: which long prefixes were seen before.

As OpenAI's: prefixes count from 1,024 tokens on, in steps of 128, within one credential and one model.
Nothing expires but by number: the oldest prefixes go when there are too many.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from itertools import islice

from simulator.dialect import Asked
from simulator.models import Model
from simulator.prompt import Prompt

SHORTEST = 1_024
STEP = 128
REMEMBERED = 100_000


class PromptCache:
    """Remembers prefixes by digest."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def lookup(self, prompt: Prompt, owner: str) -> int:
        """Tokens of `prompt` that were seen before by `owner` (key and model); remembers all of it."""
        if prompt.total < SHORTEST:
            return 0
        digest = blake2b(owner.encode(), digest_size=16)
        pieces = prompt.sequence()
        cached = 0
        known = True
        for size in range(STEP, prompt.total + 1, STEP):
            digest.update("\x1f".join(islice(pieces, STEP)).encode())
            if size < SHORTEST:
                continue
            key = digest.digest()
            known = known and key in self._seen
            if known:
                cached = size
            self._seen[key] = None
            self._seen.move_to_end(key)
        while len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return cached

    def clear(self) -> None:
        """Forget every prefix."""
        self._seen.clear()


def seen_before(asked: Asked, prompt: Prompt, model: Model) -> int:
    """Tokens of the prompt that were seen before, with this credential and by this model; remembers it."""
    return asked.memory.of(PromptCache).lookup(prompt, f"{asked.credential} {model.id}")
