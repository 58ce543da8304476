from __future__ import annotations

import multiprocessing
import shutil
import sqlite3
import threading
from pathlib import Path
from queue import Queue

import pytest
import sqlalchemy as sa

from metering.database import DatabaseError, open_database, writing
from metering.eventstore import EventStore
from metering.migration import load_migrations, shipped
from metering.rollup import metadata
from metering.sqlite import statements

FIRST = "CREATE TABLE a (x INTEGER) STRICT;\nINSERT INTO a VALUES (1);\n"
SECOND = "ALTER TABLE a ADD COLUMN y TEXT;\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Migrations of the test's own."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_a.sql").write_text(FIRST)
    return folder


def numbers(path: Path) -> list[int]:
    with sqlite3.connect(path) as connection:
        return [row[0] for row in connection.execute("SELECT number FROM schema_migrations ORDER BY number")]


def test_connections_are_durable_patient_and_check_foreign_keys(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "deep" / "t.db")
    with engine.connect() as connection:
        asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]
    engine.dispose()
    assert found == ["wal", 2, 1, 10_000]


def test_shipped_migrations_make_the_tables_that_the_code_describes(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "t.db")
    real = sa.inspect(engine)
    for table in metadata.sorted_tables:
        columns = [column["name"] for column in real.get_columns(table.name)]
        assert columns == [column.name for column in table.columns]
    with engine.connect() as connection:
        strict = connection.exec_driver_sql(
            "SELECT name FROM pragma_table_list WHERE NOT strict AND name NOT LIKE 'sqlite_%'"
        ).all()
    engine.dispose()
    assert strict == []


def test_new_migrations_run_once_in_order_and_keep_what_is_there(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "t.db"
    open_database(path, migrations=folder).dispose()
    (folder / "0002_b.sql").write_text(SECOND)
    for _ in range(2):
        open_database(path, migrations=folder).dispose()
    assert numbers(path) == [1, 2]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT x, y FROM a").fetchall() == [(1, None)]


def test_failing_migration_leaves_the_file_as_it_was(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "t.db"
    open_database(path, migrations=folder).dispose()
    (folder / "0002_b.sql").write_text(
        "CREATE TABLE b (x INTEGER) STRICT;\nINSERT INTO nowhere VALUES (1);\n"
    )
    with pytest.raises(DatabaseError, match="no such table: nowhere"):
        open_database(path, migrations=folder)
    assert numbers(path) == [1]
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name = 'b'").fetchall() == []


def test_database_of_a_newer_version_is_refused_and_unchanged(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "t.db"
    (folder / "0002_b.sql").write_text(SECOND)
    open_database(path, migrations=folder).dispose()
    (folder / "0002_b.sql").unlink()
    with pytest.raises(
        DatabaseError, match=r"written by a newer Tollkeeper \(schema 2; this version knows 1\)"
    ):
        open_database(path, migrations=folder)
    assert numbers(path) == [1, 2]


def test_database_migrated_by_other_text_is_refused(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "t.db"
    open_database(path, migrations=folder).dispose()
    (folder / "0001_a.sql").write_text(FIRST.replace("\n", "\r\n"))
    open_database(path, migrations=folder).dispose()  # other line ends are no other text
    (folder / "0001_a.sql").write_text(FIRST + "INSERT INTO a VALUES (2);\n")
    with pytest.raises(DatabaseError, match="belongs to another build"):
        open_database(path, migrations=folder)


def test_gap_in_the_numbers_is_refused(tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / "0001_a.sql", folder / "0003_c.sql")
    with pytest.raises(DatabaseError, match="without gap or double"):
        open_database(tmp_path / "t.db", migrations=folder)


def test_absent_database_is_refused_where_it_must_exist(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="no such database; `tollkeeper serve` creates it"):
        open_database(tmp_path / "t.db", create=False)
    assert not (tmp_path / "t.db").exists()


def test_file_that_is_no_database_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_text("not a database, but long enough to look at" * 100)
    with pytest.raises(DatabaseError, match="file is not a database"):
        open_database(path)


def test_shipped_migrations_are_numbered_and_complete_statements() -> None:
    steps = load_migrations(shipped("sqlite"))
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    for step in steps:
        assert all(sqlite3.complete_statement(each) for each in statements(step.text))


def test_statements_split_only_where_they_end() -> None:
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  SELECT 1;\n  SELECT 2;\nEND;"
    text = f"-- a comment; with a semicolon\nSELECT ';';\n\n{trigger}\n-- the end\n"
    assert list(statements(text)) == ["SELECT ';';", trigger]
    with pytest.raises(DatabaseError, match="ends inside a statement"):
        list(statements("SELECT 1"))


def _open(path: Path, start: threading.Event, answers: Queue[str]) -> None:
    start.wait()
    try:
        EventStore(path).close()
        answers.put("ok")
    except DatabaseError as error:
        answers.put(str(error))


def test_processes_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Event(), context.Queue()
    children = [context.Process(target=_open, args=(tmp_path / "t.db", start, answers)) for _ in range(6)]
    for child in children:
        child.start()
    start.set()
    found = [answers.get(timeout=120) for _ in children]
    for child in children:
        child.join()
    assert found == ["ok"] * len(children)
    assert numbers(tmp_path / "t.db") == [step.number for step in load_migrations(shipped("sqlite"))]


def test_writers_wait_their_turn_even_when_they_read_first(tmp_path: Path, folder: Path) -> None:
    engine = open_database(tmp_path / "t.db", migrations=folder)

    def raise_by_one(times: int) -> None:
        for _ in range(times):
            with writing(engine) as connection:
                value = connection.exec_driver_sql("SELECT x FROM a").scalar_one()
                connection.exec_driver_sql("UPDATE a SET x = ?", (value + 1,))

    threads = [threading.Thread(target=raise_by_one, args=(10,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT x FROM a").scalar_one() == 41
    engine.dispose()
