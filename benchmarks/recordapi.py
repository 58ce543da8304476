"""The api process over a record that is only read: the product's own, started by `benchmarks.questions`.

    python -m benchmarks.recordapi LISTENER CONFIGURATION REDIS_URL RECORD

It authenticates by the keys of a running gateway, whose place of the api process it takes, and answers from
another database. A SQLite record cannot be written to by it. On SIGUSR1 every connection to the database is
made anew before it is used again, with nothing in its memory; `fresh` is printed when that holds.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool

from gateway.api.process import run_api
from gateway.settings import load_settings
from metering.database import Where

_round = 0
_answers = os.dup(sys.stdout.fileno())
os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what else is printed is the log's


def _forget(_number: int, _frame: Any) -> None:
    global _round
    _round += 1
    _say("fresh")


def _say(word: str) -> None:
    os.write(_answers, word.encode() + b"\n")


@event.listens_for(Pool, "connect")
def _connected(connection: Any, record: Any) -> None:
    record.info["round"] = _round
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA query_only = ON")


@event.listens_for(Pool, "checkout")
def _taken(_connection: Any, record: Any, _proxy: Any) -> None:
    if record.info["round"] != _round:
        raise DisconnectionError("its memory is to be forgotten")


def main() -> None:
    descriptor, configuration, redis_url, record = sys.argv[1:]
    where: Where = record if "://" in record else Path(record) / "tollkeeper.db"
    signal.signal(signal.SIGUSR1, _forget)
    run_api(
        settings=load_settings(Path(configuration)),
        redis_url=redis_url,
        database=where,
        listener=socket.socket(fileno=int(descriptor)),
        ready=lambda: _say("ready"),
    )


if __name__ == "__main__":
    main()
