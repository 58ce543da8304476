from __future__ import annotations

import json

import pytest

from benchmarks.lane import LANES, MODELS, Lane


@pytest.mark.parametrize("lane", LANES.values(), ids=str)
def test_a_body_has_the_length_its_lane_says(lane: Lane) -> None:
    body = lane.body()
    assert len(body) == lane.body_bytes
    assert json.loads(body)["model"] == lane.model


@pytest.mark.parametrize("lane", LANES.values(), ids=str)
def test_every_model_a_lane_asks_for_is_priced(lane: Lane) -> None:
    asked = {json.loads(each)["model"] for each in (lane.body(), lane.warm_body(), lane.briefly().body())}
    assert asked <= set(MODELS)


def test_usage_is_asked_for_only_where_the_lane_says() -> None:
    assert "stream_options" not in json.loads(LANES["paced-60"].body())
    assert json.loads(LANES["paced-60-usage"].body())["stream_options"] == {"include_usage": True}


def test_briefly_keeps_name_and_load_and_shortens_the_time() -> None:
    for lane in LANES.values():
        brief = lane.briefly()
        assert (brief.name, brief.connections, brief.stream) == (lane.name, lane.connections, lane.stream)
        assert brief.window_s <= lane.window_s
