"""`tollkeeper adjust` and `tollkeeper events show` over a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from gateway.cli.adjust import correct
from metering.adjustment import Adjustment
from metering.event import CostEvent
from metering.eventstore import EventStore, StoreUnavailable
from metering.ids import new_id
from tests.gateway.cli.conftest import Run
from tests.metering.events import adjustment, event


@pytest.fixture
def store(data_dir: Path) -> Iterator[EventStore]:
    store = EventStore(data_dir / "tollkeeper.db")
    yield store
    store.close()


@pytest.fixture
def doubted(store: EventStore) -> CostEvent:
    """A request whose cost is an estimate of $0.01, with $0.05 held in doubt."""
    made = event(
        cost_nano=10_000_000, cost_upper_nano=60_000_000, doubted_nano=50_000_000, cost_status="estimated"
    )
    store.append([made])
    return made


def test_a_corrected_event_costs_what_is_given_and_nothing_is_in_doubt(
    run: Run, store: EventStore, doubted: CostEvent
) -> None:
    done = run("adjust", doubted.id, "--cost-usd", "$0.0123", "--reason", " invoice of May ")
    assert done.exit_code == 0
    assert done.stdout == (f"Event {doubted.id}: cost $0.01 -> $0.0123, in doubt $0.05 -> $0.00.\n")
    assert "takes effect at the next start" in done.stderr
    (made,) = store.adjustments_of(doubted.id)
    assert (made.source, made.reason, made.account_id) == ("operator", "invoice of May", "default")
    (row,) = store.cost_by(("customer",))
    assert (row.cost_nano, row.doubted_nano, row.unknown_nano) == (12_300_000, 0, 0)
    (sums,) = store.row_sums("default", ("key_id",), {}, 0, None).values()
    assert (sums.spent_nano, sums.doubted_nano) == (12_300_000, 0)
    assert store.find(doubted.id) == doubted


def test_a_second_correction_counts_from_the_first(run: Run, store: EventStore, doubted: CostEvent) -> None:
    run("adjust", doubted.id, "--cost-usd", "0.02", "--reason", "first")
    lowered = orjson.loads(
        run("adjust", doubted.id, "--cost-usd", "0.015", "--reason", "r", "--note", "line 7", "--json").stdout
    )
    assert lowered["adjustment"]["cost_delta_nano"] == -5_000_000
    assert lowered["adjustment"]["note"] == "line 7"
    assert (lowered["before"]["cost_usd"], lowered["after"]["cost_usd"]) == ("0.02", "0.015")
    assert store.cost_by(())[0].cost_nano == 15_000_000


def test_doubt_is_cleared_with_the_cost_as_it_stands(run: Run, store: EventStore, doubted: CostEvent) -> None:
    done = run("adjust", doubted.id, "--clear-doubt", "--reason", "will not come")
    assert "cost $0.01 -> $0.01, in doubt $0.05 -> $0.00" in done.stdout
    again = run("adjust", doubted.id, "--clear-doubt", "--reason", "will not come")
    assert (again.exit_code, again.stderr) == (0, "")
    assert "nothing to correct, its cost is $0.01" in again.stdout
    assert len(store.adjustments_of(doubted.id)) == 1


def test_an_unknown_cost_becomes_known(run: Run, store: EventStore) -> None:
    unpriced = event(cost_nano=None)
    store.append([unpriced])
    done = run("adjust", unpriced.id, "--cost-usd", "0", "--reason", "free of charge")
    assert "cost unknown -> $0.00" in done.stdout
    (row,) = store.cost_by(())
    assert (row.cost_nano, row.unpriced) == (0, 0)


@pytest.mark.parametrize(
    ("words", "complaint", "code"),
    [
        (("--reason", "r"), "say what it cost", 2),
        (("--cost-usd", "1"), "--reason", 2),
        (("--cost-usd", "1", "--reason", " "), "--reason is empty", 2),
        (("--cost-usd", "-1", "--reason", "r"), "from 0 to 9007199254740991", 1),
        (("--cost-usd", "99999999", "--reason", "r"), "from 0 to 9007199254740991", 1),
        (("--cost-usd", "ten", "--reason", "r"), "expected dollars", 1),
        (("--cost-usd", "0.0000000001", "--reason", "r"), "finer than a nano-dollar", 1),
    ],
)
def test_faults_are_told_and_change_nothing(
    run: Run, store: EventStore, doubted: CostEvent, words: tuple[str, ...], complaint: str, code: int
) -> None:
    done = run("adjust", doubted.id, *words)
    assert (done.exit_code, complaint in done.stderr) == (code, True)
    assert store.adjustments_of(doubted.id) == []


def test_an_event_that_is_not_recorded_is_told_with_where_ids_are(
    run: Run, store: EventStore, doubted: CostEvent
) -> None:
    for command in (("adjust", "nobody", "--clear-doubt", "--reason", "r"), ("events", "show", "nobody")):
        done = run(*command)
        assert done.exit_code == 1
        assert "no event 'nobody' is recorded" in done.stderr


def test_the_adjustment_is_handed_on_with_its_event_and_a_failure_is_no_correction(
    store: EventStore, doubted: CostEvent
) -> None:
    handed: list[tuple[Adjustment, CostEvent]] = []

    def keep(adjustment: Adjustment, event: CostEvent) -> None:
        handed.append((adjustment, event))

    done = correct(store, doubted.id, 0, "r", None, keep)
    assert handed == [(done.adjustment, doubted)]
    assert (done.after.cost_nano, done.after.doubted_nano) == (0, 0)

    def refuse(adjustment: Adjustment, event: CostEvent) -> None:
        raise StoreUnavailable("busy")

    with pytest.raises(StoreUnavailable):
        correct(store, doubted.id, 0, "r", None, refuse)
    assert store.adjustments_of(doubted.id) == []


def test_show_prints_the_event_its_adjustments_and_the_corrected_cost(
    run: Run, store: EventStore, doubted: CostEvent
) -> None:
    plain = run("events", "show", doubted.id).stdout
    assert plain.startswith(f"{doubted.id}\n")
    assert "$0.01 estimated, at most $0.06" in plain
    assert "corrected" not in plain
    store.append_adjustments(
        [
            adjustment(doubted, cost_delta_nano=-1_000_000, reason="rebate \x1b[31m", note="line 7"),
            adjustment(doubted, doubted_delta_nano=-50_000_000, source="provider"),
        ]
    )
    first, second, last = run("events", "show", doubted.id).stdout.splitlines()[2:]
    assert first == "adjusted  2026-11-01T01:00:00Z  operator  cost -$0.001  rebate \\x1b[31m  (line 7)"
    assert second == "adjusted  2026-11-01T01:00:00Z  provider  in doubt -$0.05  known better"
    assert last == "corrected: cost $0.009, in doubt $0.00"


def test_show_as_json_keeps_the_event_and_its_correction_apart(
    run: Run, store: EventStore, doubted: CostEvent
) -> None:
    made = adjustment(doubted, id=new_id(), cost_delta_nano=5)
    store.append_adjustments([made])
    document = orjson.loads(run("events", "show", doubted.id, "--json").stdout)
    assert document["event"]["cost_nano"] == 10_000_000
    assert [each["id"] for each in document["adjustments"]] == [made.id]
    assert document["corrected"]["cost_nano"] == "10000005"
    assert document["corrected"]["doubted_usd"] == "0.05"
