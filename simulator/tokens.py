"""The simulator's own tokenizer, and the words its answers are made of.

A piece is a word of at most 12 letters, a number of at most 3 digits or any other single character (each with
the space before it), or a run of white space. Every piece holds at least one character, so the pieces of a
text never outnumber its UTF-8 bytes: the bound on which a gateway's ceiling rests. For plain English the
count is close to OpenAI's ("What is the capital of Mexico?" is 7 here and there).
"""

from __future__ import annotations

import re
from functools import lru_cache

REMEMBERED = 4_096
"""Texts shorter than this are counted once; at most as many of them are remembered (16 MB)."""
PIECE = re.compile(r" ?[A-Za-z]{1,12}| ?[0-9]{1,3}| ?[^\sA-Za-z0-9]|\s{1,16}")

_PROSE = (
    "This answer comes from a simulated provider. No model was asked, yet every piece of it was counted,"
    " priced and written on a bill. Ask for the bill when you are done, and compare it with your own."
    " A gateway that agrees to the last nano-dollar has nothing to hide. The words repeat after a while;"
    " the arithmetic does not care. Streams may be cut, answers may be late, and errors may come on request."
    " What was sent is what is charged, and what was never sent is free."
)


def split(text: str) -> list[str]:
    """The pieces of `text`, in order; joined they are the text again."""
    return PIECE.findall(text)


def count(text: str) -> int:
    """How many pieces `text` has: its tokens."""
    return _counted(text) if len(text) < REMEMBERED else len(PIECE.findall(text))


@lru_cache(maxsize=REMEMBERED)
def _counted(text: str) -> int:
    return len(PIECE.findall(text))


WORDS: list[str] = split(" " + _PROSE)
_STARTS = [0] + [n + 1 for n, word in enumerate(WORDS[:-1]) if word == "."]


def words(number: int, seed: int) -> list[str]:
    """Exactly `number` pieces of prose. `seed` chooses the sentence it begins with."""
    if number <= 0:
        return []
    start = _STARTS[seed % len(_STARTS)]
    rounds = (start + number) // len(WORDS) + 1
    chosen = (WORDS * rounds)[start : start + number]
    chosen[0] = chosen[0].lstrip()
    return chosen
