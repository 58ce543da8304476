"""What books of the record refuse, as clients are told of it; and pages of lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from accounts.plantables import PlanNotFound
from accounts.tables import KeyNotFound
from gateway.api.cursor import Part, decode_cursor, encode_cursor
from gateway.errors import BadRequest, NotFound

Row = TypeVar("Row")
Place = tuple[int, str]
_MOMENT_MAX = 2**53
"""A cursor is no secret, and one made by hand must not ask for what no column can hold."""


@contextmanager
def refusals(*, code: str | None = None) -> Iterator[None]:
    """Inside it, what cannot be is a 400, and what is not there a 404, in the words of the book."""
    try:
        yield
    except (KeyNotFound, PlanNotFound) as error:
        raise NotFound(_sentence(error)) from None
    except ValueError as error:
        raise BadRequest(_sentence(error), code=code) from None


def place_of(listed: Sequence[Part], cursor: str | None) -> Place | None:
    """The moment and the id after which a page begins; None at a list's beginning. `listed`: which list."""
    if cursor is None:
        return None
    at_ms, last = decode_cursor(listed, cursor, (int, str))
    return min(int(at_ms or 0), _MOMENT_MAX), str(last)


def name_after(listed: Sequence[Part], cursor: str | None) -> str:
    """The name after which a page of a list by names begins; empty at its beginning."""
    return "" if cursor is None else str(decode_cursor(listed, cursor, (str,))[0])


def page_of(
    listed: Sequence[Part], found: Sequence[Row], limit: int, place: Callable[[Row], Sequence[Part]]
) -> tuple[list[Row], str | None]:
    """The page's rows and the cursor of the next one. `found`: one row more than the page, where there is."""
    rows = list(found[:limit])
    return rows, encode_cursor(listed, place(rows[-1])) if len(found) > limit else None


def _sentence(error: Exception) -> str:
    words = str(error.args[0] if error.args else error)
    first = words.split(" ", 1)[0]
    if first.isalpha():  # a field's name, such as expires_at or value:, stays as it is
        words = words[:1].upper() + words[1:]
    return words + ("" if words.endswith(".") else ".")
