"""What a backup says of itself, and whether this version can use it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import orjson

FORMAT = 1
LEDGER = "t2"
"""The version of the ledger's keys (budgets.names)."""
Kind = Literal["sqlite", "postgresql"]


class BackupError(Exception):
    """The backup cannot be made or used; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the backup: its length, and the SHA-256 of its content."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """made_ms: when it was begun; all that was recorded or on the way then is in it. schema: the last
    migration of the database. A database on a server is not in it; `members` are its files."""

    version: str
    made_ms: int
    database: Kind
    schema: int
    ledger_keys: int
    ledger_entries: int
    members: dict[str, Member]

    def encode(self) -> bytes:
        """The manifest as JSON."""
        document = {"format": FORMAT, "ledger": LEDGER, **asdict(self)}
        return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def read_manifest(source: bytes) -> Manifest:
    """The manifest in a JSON document. Raises BackupError for one that is none, or of a later format."""
    try:
        document: dict[str, Any] = orjson.loads(source)
        form, ledger = document.pop("format"), document.pop("ledger")
        if form != FORMAT or ledger != LEDGER:
            raise BackupError(
                f"the backup is of format {form} with ledger {ledger}; this version reads format {FORMAT} "
                f"with ledger {LEDGER}. Restore it with Tollkeeper {document.get('version')}"
            )
        members = {name: Member(**each) for name, each in document.pop("members").items()}
        return Manifest(members=members, **document)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"the backup's manifest cannot be read: {error}") from None


def check_usable(manifest: Manifest, database: Kind, schema: int) -> None:
    """Raise BackupError where an installation of this version and with this database cannot take it."""
    if manifest.database != database:
        kinds = {"sqlite": "a SQLite file", "postgresql": "a PostgreSQL server"}
        raise BackupError(
            f"the backup is of an installation on {kinds[manifest.database]}, and the configuration names "
            f"{kinds[database]}"
        )
    if manifest.schema > schema:
        raise BackupError(
            f"the backup was made by a newer Tollkeeper (schema {manifest.schema}; this version knows "
            f"{schema}). Install {manifest.version} or a later one"
        )
