"""What is a server's own: logging in, migrating it, several writers at once, its restarts."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import sqlalchemy as sa

from metering import postgresql
from metering.adjustment import encode_adjustment
from metering.database import DatabaseError, open_database, writing
from metering.event import CostEvent
from metering.eventstore import EventStore, StoreUnavailable, UnstorableEvent
from metering.eventtable import events, insert_adjustments
from metering.ids import new_id
from metering.migration import load_migrations, shipped
from metering.notice import limit_notices
from metering.outcome import Outcome
from metering.postgresql import shown
from metering.snapshot import Place
from tests.databases import PostgresServer
from tests.metering.events import adjustment, event

pytestmark = [pytest.mark.wide, pytest.mark.debian]


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.fresh()


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    store = EventStore(url)
    yield store
    store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Migrations of the test's own."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0006_a.sql").write_text("CREATE TABLE a (x BIGINT);\nINSERT INTO a VALUES (1);\n")
    return folder


_ROWS_READ = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"


def tables(server: PostgresServer, url: str) -> set[str]:
    found = server.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database_of(url))
    return {name for (name,) in found}


def database_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


# Migrations


def test_both_engines_make_the_same_tables(url: str, tmp_path: Path) -> None:
    server, file = open_database(url), open_database(tmp_path / "t.db")
    on_server, in_file = sa.inspect(server), sa.inspect(file)
    assert set(on_server.get_table_names()) == set(in_file.get_table_names())
    for table in in_file.get_table_names():
        columns = [each["name"] for each in on_server.get_columns(table)]
        # A table in a file has an order of arrival of its own.
        columns = columns[1:] if table == "subscriptions" else columns
        assert columns == [each["name"] for each in in_file.get_columns(table)], table
        for mine, theirs in zip(
            on_server.get_columns(table)[-len(columns) :], in_file.get_columns(table), strict=True
        ):
            assert mine["nullable"] == theirs["nullable"] or mine["name"] in keys_of(on_server, table)
            assert isinstance(mine["type"], sa.BigInteger) == isinstance(theirs["type"], sa.Integer)
        assert keys_of(on_server, table) == keys_of(in_file, table)
    server.dispose()
    file.dispose()


def keys_of(inspector: sa.Inspector, table: str) -> list[str]:
    return inspector.get_pk_constraint(table)["constrained_columns"]


def test_names_are_in_the_order_of_code_points(url: str, postgres: PostgresServer) -> None:
    EventStore(url).close()
    found = postgres.sql(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' AND "
        "data_type = 'text' AND collation_name IS DISTINCT FROM 'C' ORDER BY 1, 2",
        database_of(url),
    )
    bulk = {"document", "scopes", "customers", "features", "thresholds", "overrides", "body"}
    bulk |= {"routes", "models", "sources", "required", "name", "checksum"}
    assert {column for _, column in found} <= bulk


def test_migrations_of_both_engines_go_in_step() -> None:
    server, file = load_migrations(shipped("postgresql")), load_migrations(shipped("sqlite"))
    assert server[0].number == 6
    assert [step.name for step in server[1:]] == [step.name for step in file[6:]]


def test_new_migrations_run_once_and_a_failing_one_leaves_everything_as_it_was(
    url: str, folder: Path, postgres: PostgresServer
) -> None:
    open_database(url, migrations=folder).dispose()
    (folder / "0007_b.sql").write_text("CREATE TABLE b (x BIGINT);\nINSERT INTO nowhere VALUES (1);\n")
    with pytest.raises(DatabaseError, match='relation "nowhere" does not exist'):
        open_database(url, migrations=folder)
    assert tables(postgres, url) == {"a", "schema_migrations"}
    (folder / "0007_b.sql").write_text("CREATE TABLE b (x BIGINT);\n")
    for _ in range(2):
        open_database(url, migrations=folder).dispose()
    database = database_of(url)
    assert postgres.sql("SELECT number FROM schema_migrations ORDER BY 1", database) == [(6,), (7,)]
    assert postgres.sql("SELECT x FROM a", database) == [(1,)]


def test_a_newer_schema_and_other_text_are_refused(url: str, folder: Path) -> None:
    (folder / "0007_b.sql").write_text("CREATE TABLE b (x BIGINT);\n")
    open_database(url, migrations=folder).dispose()
    (folder / "0007_b.sql").unlink()
    with pytest.raises(DatabaseError, match=r"newer Tollkeeper \(schema 7; this version knows 6\)"):
        open_database(url, migrations=folder)
    (folder / "0007_b.sql").write_text("CREATE TABLE c (x BIGINT);\n")
    with pytest.raises(DatabaseError, match="belongs to another build"):
        open_database(url, migrations=folder)


def _open(url: str, start: threading.Event, answers: Queue[str]) -> None:
    start.wait()
    try:
        EventStore(url).close()
        answers.put("ok")
    except DatabaseError as error:
        answers.put(str(error))


def test_nodes_that_start_at_once_migrate_once(url: str) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Event(), context.Queue()
    children = [context.Process(target=_open, args=(url, start, answers)) for _ in range(4)]
    for child in children:
        child.start()
    start.set()
    assert [answers.get(timeout=120) for _ in children] == ["ok"] * len(children)
    for child in children:
        child.join()


# Errors for people


def test_what_is_no_server_is_told_with_what_to_do(postgres: PostgresServer, tmp_path: Path) -> None:
    login = postgres.url("postgres")
    for url, complaint in (
        (
            login.replace(str(postgres.folder).replace("/", "%2F"), "%2Fnowhere"),
            "is the server running there",
        ),
        ("postgresql://127.0.0.1:1/x", "is the server running there"),
        (postgres.url("absent"), 'database "absent" does not exist.*create it first'),
        (postgres.url("postgres", user="nobody-here"), 'role "nobody-here" does not exist'),
        ("postgresql://h:port/x", "check the host and the port"),
        ("mysql://h/x", "begins with postgresql://"),
    ):
        with pytest.raises(DatabaseError, match=complaint):
            open_database(url)


def test_a_wrong_password_is_told_and_no_password_is(postgres: PostgresServer) -> None:
    postgres.sql("CREATE ROLE locked LOGIN PASSWORD 'right'")
    rules = postgres.data / "pg_hba.conf"
    former = rules.read_text()
    try:
        rules.write_text("local all locked scram-sha-256\n" + former)
        postgres.sql("SELECT pg_reload_conf()")
        url = postgres.url("postgres", user="locked", password="s3cr3t/wrong")
        with pytest.raises(DatabaseError, match=r"password authentication failed.*check the user") as raised:
            open_database(url)
        assert "s3cr3t" not in str(raised.value)
        with pytest.raises(DatabaseError, match="check the user and the password"):
            open_database(postgres.url("postgres", user="locked"))
    finally:
        rules.write_text(former)
        postgres.sql("SELECT pg_reload_conf()")


def test_a_user_who_may_not_make_tables_is_told(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    postgres.sql("CREATE ROLE guest LOGIN")
    postgres.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database_of(url))
    guest = url.replace("postgres@", "guest@")
    with pytest.raises(DatabaseError, match=r"permission denied for schema public.*let the user own"):
        open_database(guest)
    EventStore(url).close()
    with pytest.raises(DatabaseError, match="permission denied for table schema_migrations"):
        open_database(guest)


def test_a_user_needs_no_more_than_rows_once_the_tables_are_there(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    EventStore(url).close()
    postgres.sql("CREATE ROLE clerk LOGIN")
    granted = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO clerk"
    postgres.sql(granted, database_of(url))
    store, made = EventStore(url.replace("postgres@", "clerk@")), [event(cost_nano=1) for _ in range(50)]
    assert store.append([*made, event(cost_nano=1)]).added == 51
    assert store.append_adjustments([adjustment(made[0], cost_delta_nano=9)]) == 1
    assert store.cost_by(())[0].cost_nano == 60
    store.close()


def test_a_database_of_another_encoding_is_refused(postgres: PostgresServer) -> None:
    url = postgres.fresh("ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(DatabaseError, match="encoding is LATIN1"):
        open_database(url)


def test_an_old_server_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "SERVER_MIN", 99)
    with pytest.raises(DatabaseError, match=r"99 or later is needed\. Upgrade it"):
        open_database(url)


def test_a_missing_driver_is_told(tmp_path: Path) -> None:
    """In a process of its own, which cannot import it."""
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from metering.database import DatabaseError, open_database\n"
        "try: open_database('postgresql://u:p@h/d')\n"
        "except DatabaseError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "postgresql://h/d: the driver for PostgreSQL is not installed" in done.stdout
    assert "pip install 'tollkeeper[postgres]'" in done.stdout


def test_a_database_without_tables_is_refused_where_it_must_be_one(
    url: str, postgres: PostgresServer
) -> None:
    with pytest.raises(DatabaseError, match="holds no tables of Tollkeeper"):
        open_database(url, create=False)
    assert tables(postgres, url) == set()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:pa%40ss@host:5432/name?sslmode=require",
        "postgresql://user@host:5432/name?password=pa%40ss",
        "postgresql://host:5432/name",
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str) -> None:
    assert shown(url) == "postgresql://host:5432/name"


# Several writers


def test_readers_may_not_write_and_writers_need_no_luck(url: str) -> None:
    engine = open_database(url)
    with pytest.raises(sa.exc.InternalError, match="read-only transaction"), engine.begin() as connection:
        connection.execute(sa.delete(events))
    with writing(engine) as connection:
        connection.execute(sa.delete(events))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar_one() == "repeatable read"
    engine.dispose()


def _append(url: str, batches: list[list[CostEvent]], start: threading.Event, answers: Queue[int]) -> None:
    store = EventStore(url, patience_ms=60_000)
    start.wait()
    answers.put(sum(store.append(batch).added for batch in batches))
    store.close()


def test_several_nodes_store_each_event_once_and_arrivals_meet_each_once(url: str) -> None:
    """Every node stores all events, in an order and in batches of its own, while another one reads them."""
    made = [event(customer=f"c{n % 7}", plan="pro", workspace=f"w{n % 3}") for n in range(600)]
    store = EventStore(url)
    context = multiprocessing.get_context("fork")
    start, answers = context.Event(), context.Queue()
    children = []
    for node in range(4):
        shifted = made[node * 150 :] + made[: node * 150]
        if node % 2:
            shifted.reverse()
        size = 7 + 13 * node
        batches = [shifted[at : at + size] for at in range(0, len(shifted), size)]
        children.append(context.Process(target=_append, args=(url, batches, start, answers)))
    for child in children:
        child.start()
    start.set()
    met: list[str] = []
    place, rest = Place(0, 0), 0
    deadline = time.monotonic() + 200
    while rest < 2 and time.monotonic() < deadline:
        rest += not any(child.is_alive() for child in children)
        found = store.later(place)
        met += [each.id for each in found.events]
        place = found.place
    added = [answers.get(timeout=60) for _ in children]
    for child in children:
        child.join()
    assert sum(added) == len(made)
    assert len(met) == len(set(met))
    assert set(met) == {each.id for each in made}
    for dimensions in ((), ("customer", "feature"), ("model", "route"), ("key",), ("day",)):
        assert store.cost_by(dimensions) == store.cost_by(dimensions, from_events=True)
    assert store.cost_by(())[0].events == len(made)
    store.close()


def test_a_writer_that_falls_silent_loses_the_lock(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        postgresql, "_BEGIN_WRITING", postgresql._BEGIN_WRITING.replace(str(postgresql._HELD_IDLE_MS), "200")
    )
    stuck, store = open_database(url), EventStore(url)

    def hold_and_say_nothing() -> None:
        with writing(stuck) as connection:
            assert store.append([event()]).added == 1  # which waits for the lock, and gets it
            connection.execute(sa.delete(limit_notices))

    with pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction"):
        hold_and_say_nothing()
    stuck.dispose()
    store.close()


# Restarts and losses


def test_the_store_goes_on_after_a_restart_of_the_server(postgres: PostgresServer) -> None:
    store = EventStore(postgres.fresh(), patience_ms=1_000)
    first = event()
    store.append([first])
    with store.snapshot() as snapshot:
        assert snapshot.place.event_seq > 0
    for how in (signal.SIGINT, signal.SIGQUIT):
        postgres.stop(how)
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailable):
                    store.append([event()])
                with pytest.raises(StoreUnavailable), store.snapshot():
                    pass
        finally:
            postgres.start()
        assert store.append([first, event()]).added == 1
    assert store.cost_by(())[0].events == 3
    store.close()


def test_a_server_that_dies_in_the_middle_of_a_batch_has_none_of_it(postgres: PostgresServer) -> None:
    store, batch = EventStore(postgres.fresh()), [event() for _ in range(50)]
    stopped: list[bool] = []

    def crash(_c: object, _k: object, statement: str, *_: object) -> None:
        if not stopped and "costs_by_key_hour" in statement:
            stopped.append(True)
            postgres.stop(signal.SIGQUIT)

    sa.event.listen(sa.Engine, "before_cursor_execute", crash)
    try:
        with pytest.raises(StoreUnavailable):
            store.append(batch)
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", crash)
        postgres.start()
    assert store.cost_by((), from_events=True) == []
    assert store.append(batch).added == len(batch)
    store.close()


def test_a_database_that_is_gone_is_unavailable_and_not_made_again(postgres: PostgresServer) -> None:
    url = postgres.fresh()
    store = EventStore(url)
    store.append([event()])
    database = database_of(url)
    postgres.sql(f"DROP DATABASE {database} WITH (FORCE)")
    with pytest.raises(StoreUnavailable):
        store.append([event()])
    postgres.sql(f"CREATE DATABASE {database}")
    with pytest.raises(StoreUnavailable, match="does not exist"):
        store.append([event()])
    with pytest.raises(StoreUnavailable, match="does not exist"), store.snapshot():
        pass
    assert tables(postgres, url) == set()
    store.close()


def test_commits_are_on_the_disk_when_they_return_whatever_the_server_says(
    postgres: PostgresServer, url: str
) -> None:
    engine = open_database(url)
    asked = "SHOW synchronous_commit"
    postgres.sql(f"ALTER DATABASE {database_of(url)} SET synchronous_commit = off")
    with engine.connect() as connection:
        assert connection.exec_driver_sql(asked).scalar_one() == "off"
    with writing(engine) as connection:
        assert connection.exec_driver_sql(asked).scalar_one() == "on"
    engine.dispose()


def test_names_too_long_for_an_index_are_told_and_hold_nothing_up(store: EventStore) -> None:
    # Random, because what repeats itself is compressed.
    import random

    draw = random.Random(1)
    long = "".join(chr(draw.randrange(0x4E00, 0x9FFF)) for _ in range(3_000))
    with pytest.raises(UnstorableEvent, match="index row"):
        store.append([event(), event(customer=long)])
    assert store.append([event()]).added == 1


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
def test_what_a_batch_reads_does_not_grow_with_the_record(store: EventStore, plans: str) -> None:
    """Also where statistics are as old as the first events, as after a load that autovacuum has not seen."""

    def rows_read() -> int:
        alone, early, others = event(), event(), [event(task_id=new_id()) for _ in range(30)]
        store.append([alone])
        with store.transaction() as connection:
            driver: Any = connection.connection.dbapi_connection
            driver.prepare_threshold = 0
            connection.exec_driver_sql(f"SET LOCAL plan_cache_mode = {plans}")
            told = adjustment(early, cost_delta_nano=1)
            insert_adjustments(connection, [told], [encode_adjustment(told)])
            store.add(connection, [early, *others, event(task_id=alone.id), event(task_id=others[0].task_id)])
            store.add(connection, [alone, early])
            store.add_outcomes(connection, [Outcome(new_id(), "default", alone.id, "failure", 1)])
            return int(connection.exec_driver_sql(_ROWS_READ).scalar_one())

    rows_read()
    with store.transaction() as connection:
        connection.exec_driver_sql("ANALYZE")
    before = rows_read()
    for _ in range(3):
        store.append([event(task_id=new_id() if n % 3 else None) for n in range(1_000)])
    assert before < 500
    # It varies by a hundred rows now and then; what grew has two or three thousand.
    assert rows_read() <= before + 500


def test_later_knowledge_counts_once_on_several_nodes(url: str) -> None:
    one, other = EventStore(url), EventStore(url)
    made = event(cost_nano=100)
    told = [adjustment(made, cost_delta_nano=n) for n in range(1, 60)]
    one.append_adjustments(told)
    other.append([made])
    assert one.append_adjustments(told) == 0
    assert other.cost_by(())[0].cost_nano == 100 + sum(range(1, 60))
    one.close()
    other.close()
