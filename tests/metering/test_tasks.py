from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metering.tasks import Change, Given, Member, Task, alone, changes, with_events, with_outcome

MEMBERS = st.lists(
    st.builds(
        Member,
        event_id=st.sampled_from([f"e{n}" for n in range(8)]),
        started_ms=st.integers(0, 3),
        outcome=st.sampled_from(["success", "failure", "unknown"]),
        names=st.tuples(st.sampled_from(["acme", "globex"])),
    ),
    unique_by=lambda member: member.event_id,
    max_size=8,
)
OUTCOMES = st.lists(
    st.builds(
        Given,
        at_ms=st.integers(0, 2),
        id=st.text("ab", max_size=2),
        outcome=st.sampled_from(["success", "rejected"]),
    ),
    unique_by=lambda said: said.id,
    max_size=3,
)


def member(event_id: str, started_ms: int, outcome: str = "success", customer: str = "acme") -> Member:
    return Member(event_id, started_ms, outcome, (customer,))


def test_a_task_is_at_home_at_its_first_event_and_ends_as_its_final_one() -> None:
    task = with_events(Task(), [member("b", 5), member("a", 9, "failure"), member("c", 3, customer="globex")])
    assert task.home == member("c", 3, customer="globex")
    assert task.outcome == "failure"
    assert task.counts == (1, 0)


def test_within_one_millisecond_ids_decide() -> None:
    task = with_events(Task(), [member("b", 5, "failure"), member("a", 5)])
    assert (task.home, task.outcome) == (member("a", 5), "failure")


def test_what_was_given_last_counts_and_may_come_before_any_event() -> None:
    task = with_outcome(Task(), Given(7, "o2", "rejected", "wrong"))
    task = with_outcome(task, Given(5, "o9", "success"))
    assert (task.outcome, task.counts) == ("rejected", (0, 0))
    task = with_events(task, [member("a", 1)])
    assert (task.outcome, task.counts) == ("rejected", (1, 0))
    assert with_outcome(task, Given(7, "o3", "success")).counts == (1, 1)
    assert Task().outcome is None


def test_an_earlier_event_moves_the_task_from_one_place_to_another() -> None:
    later = alone(member("b", 5))
    task = with_events(later, [member("a", 2, "failure", "globex")])
    assert changes(later, task) == [
        Change(member("b", 5), -1, -1),
        Change(member("a", 2, "failure", "globex"), 1, 1),
    ]


def test_another_outcome_changes_the_successes_alone_and_none_changes_nothing() -> None:
    task = alone(member("a", 5))
    failed = with_outcome(task, Given(1, "o", "failure"))
    assert changes(task, failed) == [Change(member("a", 5), 0, -1)]
    assert changes(task, with_outcome(task, Given(1, "o", "success"))) == []
    assert changes(task, task) == []


@given(MEMBERS, OUTCOMES, st.randoms(use_true_random=False))
def test_any_order_makes_the_same_task_and_the_changes_add_up_to_where_it_counts(
    members: list[Member], said: list[Given], chance: object
) -> None:
    items: list[Member | Given] = [*members, *said]
    whole = with_events(Task(), members)
    for each in said:
        whole = with_outcome(whole, each)
    chance.shuffle(items)  # type: ignore[attr-defined]
    task, counted = Task(), dict[str, list[int]]()
    for item in items:
        grown = with_events(task, [item]) if isinstance(item, Member) else with_outcome(task, item)
        for change in changes(task, grown):
            sums = counted.setdefault(change.home.event_id, [0, 0])
            sums[0] += change.tasks
            sums[1] += change.successes
        task = grown
    assert task == whole
    here = {event_id: tuple(sums) for event_id, sums in counted.items() if any(sums)}
    assert here == ({} if whole.home is None else {whole.home.event_id: whole.counts})
