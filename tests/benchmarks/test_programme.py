from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gateway_subject import settings
from benchmarks.lane import LANES
from benchmarks.programme import acts
from benchmarks.runner import arguments, chosen_lanes
from benchmarks.setup import ALLOWANCES, USUAL, Setup
from benchmarks.show import load_rows
from benchmarks.stage import CannotStart

USUAL_FOLDER = Path("data")


def names_of(*words: str) -> list[str]:
    return [lane.name for lane in chosen_lanes(arguments(words))]


def test_the_bars_are_measured_with_the_lanes_and_everything_else_that_they_need() -> None:
    shown = arguments(["--show"])
    assert {name for row in load_rows() for name in row.lanes} == set(names_of("--show"))
    assert shown.once
    assert shown.peers is not None
    assert names_of("--all") == list(LANES)
    assert set(names_of("--show", "--lane", "burst-32")) - set(names_of("--show")) == {"burst-32"}
    plain = arguments([])
    assert (plain.once, plain.peers) == (False, None)


def test_short_rounds_are_fewer_and_shorter() -> None:
    long, short = arguments(["--show"]), arguments(["--show", "--brief"])
    assert short.rounds < long.rounds
    assert sum(lane.window_s for lane in chosen_lanes(short)) < sum(
        lane.window_s for lane in chosen_lanes(long)
    )
    assert arguments(["--show", "--rounds", "9"]).rounds == 9


def test_lanes_over_the_same_subjects_are_one_act_in_the_order_of_asking() -> None:
    asked = [LANES[name] for name in ("paced-200", "nonstream-64", "limits", "nonstream-256")]
    plain, peers, limits = acts(asked, peers=True)
    assert [lane.name for lane in plain.lanes] == ["paced-200", "nonstream-256"]
    assert [lane.name for lane in peers.lanes] == ["nonstream-64"]
    assert (plain.peers, peers.peers, limits.peers) == (False, True, False)
    assert limits.gateways == (USUAL, Setup(limits=0), Setup(limits=16))


def test_without_peers_and_gateway_nothing_of_them_is_started() -> None:
    (act,) = acts([LANES["paced-200"], LANES["nonstream-64"], LANES["limits"]], gateway=False)
    assert (act.gateways, act.peers, act.direct) == ((), False, False)


def test_the_direct_way_is_there_when_some_lane_of_the_act_asks_for_it() -> None:
    (act,) = acts([LANES["nonstream-64"], LANES["latency-50rps"]], peers=True)
    assert act.direct
    assert not acts([LANES["nonstream-1"]])[0].direct


def test_the_name_of_a_set_up_says_what_is_not_usual() -> None:
    assert USUAL.name == "gateway"
    assert (
        Setup(limits=0, redis="tcp", tls=True, workers=2).name == "gateway-0-limits-tcp-redis-tls-2-workers"
    )
    names = [setup.name for lane in LANES.values() for setup in lane.gateways]
    assert len(set(names)) == len({setup for lane in LANES.values() for setup in lane.gateways})


def test_no_two_limits_of_a_set_up_are_the_same_and_there_are_as_many_as_a_request_may_have() -> None:
    assert len(set(ALLOWANCES)) == len(ALLOWANCES) == 16
    assert USUAL.windows_on("key") == ["day", "month"]
    assert USUAL.windows_on("plan") == ["month"]
    with pytest.raises(ValueError, match="not 17"):
        Setup(limits=17)


def test_a_set_up_without_limits_still_has_its_plan() -> None:
    plans = settings(9, 8, USUAL_FOLDER, Setup(limits=0))["plans"]
    assert plans == {"bench": {"features": ["ai_summarization"], "limits": []}}


def test_tls_without_a_front_is_told() -> None:
    with pytest.raises(CannotStart, match="nginx and openssl"):
        settings(9, 8, USUAL_FOLDER, Setup(tls=True))
