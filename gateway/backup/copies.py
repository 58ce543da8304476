"""Copies of what is in use: the database's file, and the files of journals and of the spill."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine, text

PAGES_AT_ONCE = 2_048
_SCHEMA = "SELECT max(number) FROM schema_migrations"


def copy_database(source: Path, target: Path) -> int:
    """Copy the SQLite file as it is at one moment, while others read and write; gives its schema's number.

    Who writes never waits for it; what they write meanwhile stays in the write-ahead log until it is done.
    Raises sqlite3.Error.
    """
    address = f"{source.resolve().as_uri()}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as reading:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        # All steps see this transaction's moment: without it each write of another process begins it anew.
        reading.execute("BEGIN")
        (number,) = reading.execute(_SCHEMA).fetchone()
        with closing(sqlite3.connect(target)) as writing:
            reading.backup(writing, pages=PAGES_AT_ONCE)
            writing.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
        reading.execute("ROLLBACK")
    return int(number)


def schema_of(engine: Engine) -> int:
    """The number of the last migration that the database has seen."""
    with engine.connect() as connection:
        return int(connection.execute(text(_SCHEMA)).scalar_one())


def copy_files(source: Path, target: Path, suffix: str) -> int:
    """Copy the folder's files as they are now and give their number.

    They are only appended to, and their readers know a torn end. One that goes meanwhile has been told
    further, to what is copied later.
    """
    try:
        names = sorted(each.name for each in source.iterdir() if each.suffix == suffix)
    except FileNotFoundError:
        return 0
    copied = 0
    for name in names:
        target.mkdir(mode=0o700, exist_ok=True)
        try:
            shutil.copyfile(source / name, target / name)
        except FileNotFoundError:
            continue
        copied += 1
    return copied
