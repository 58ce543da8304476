"""Migrations: the numbered steps that bring a database to this version, and when they are refused.

Each engine has a folder of its own (`migrations/<engine>/NNNN_name.sql`). SQLite's begins with 1,
PostgreSQL's with 6, which makes what SQLite has after its sixth; from 0007 on both go in step. A step that
has run is recorded with a checksum of its text: a database migrated by other text, or by a later version, is
refused with a sentence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


class DatabaseError(Exception):
    """The database cannot be used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of the schema."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, without regard to the line ends of the checkout."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()


def shipped(engine: str) -> Traversable:
    """The folder of this version's migrations for the engine."""
    return files("metering") / "migrations" / engine


def load_migrations(folder: Traversable) -> list[Migration]:
    """Every migration in the folder, in order. Raises DatabaseError unless they count up one by one."""
    found = [
        Migration(int(match[1]), item.name, item.read_text(encoding="utf-8"))
        for item in folder.iterdir()
        if (match := _FILE_NAME.fullmatch(item.name))
    ]
    found.sort(key=lambda step: step.number)
    if [step.number for step in found] != [found[0].number + place for place in range(len(found))]:
        names = ", ".join(step.name for step in found)
        raise DatabaseError(f"migrations must be numbered 1, 2, 3 ... without gap or double; found {names}")
    return found


def unseen(
    steps: Sequence[Migration], applied: Sequence[tuple[int, str, str]], database: str
) -> Sequence[Migration]:
    """The steps after those `applied` (number, name, checksum; in order of numbers).

    Raises DatabaseError, naming the `database`, when its past is not a part of ours.
    """
    known = steps[-1].number
    if applied and applied[-1][0] > known:
        raise DatabaseError(
            f"{database}: written by a newer Tollkeeper (schema {applied[-1][0]}; this version knows "
            f"{known}). Install that version or a later one, or restore the copy made before the upgrade"
        )
    for (_, name, checksum), step in zip(applied, steps, strict=False):
        if checksum != step.checksum:
            raise DatabaseError(
                f"{database}: was migrated by {name} with other content than this version's {step.name}; "
                "it belongs to another build of Tollkeeper"
            )
    return steps[len(applied) :]
