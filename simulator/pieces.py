"""What answers are made of, in every dialect: pieces of one token each, and what a maximum leaves of them."""

from __future__ import annotations

from typing import Any

import orjson

from simulator import schema, tokens


class Pieces:
    """The tokens of an answer: `reasoning` that is never seen, a tool's name, and `pieces`.

    For answers that are dataclasses with these three fields.
    """

    __slots__ = ()

    reasoning: int
    name_tokens: int
    pieces: list[str]

    @property
    def completion_tokens(self) -> int:
        """Output tokens that are paid for."""
        return self.reasoning + self.name_tokens + len(self.pieces)

    @property
    def hidden(self) -> int:
        """Output tokens that are never seen."""
        return self.reasoning


def example(shape: Any) -> list[str]:
    """The pieces of JSON that fits a schema: a function's arguments, or an answer in that shape."""
    return tokens.split(orjson.dumps(schema.example(shape)).decode())


def any_json(number: int, seed: int) -> list[str]:
    """So many pieces of JSON in no shape that was asked for; as many as it takes where those are too few."""
    head, tail = tokens.split('{"answer":"'), tokens.split('"}')
    return [*head, *tokens.words(number - len(head) - len(tail), seed), *tail]


def cut(maximum: int, thought: int, name_tokens: int, pieces: list[str]) -> tuple[int, int, list[str]] | None:
    """What a maximum leaves of what is thought, a tool's name and pieces, in this order. None: all of it."""
    if thought + name_tokens + len(pieces) <= maximum:
        return None
    thought = min(thought, maximum)
    name_tokens = min(name_tokens, maximum - thought)
    return thought, name_tokens, pieces[: maximum - thought - name_tokens]
