"""What becomes of a handler's answers and faults: the shape, the status, and who may ask at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import httpx2
import pytest
import sqlalchemy as sa
from redis.exceptions import ConnectionError as RedisAway

from gateway.api.answers import Conflict
from gateway.api.endpoint import ANY, Answer, Call, Endpoint
from gateway.api.fields import Asked, Nano, Told, Usd, money
from gateway.errors import NotFound
from metering.eventstore import EventsRemoved, StoreUnavailable
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack


class Sum(Told):
    cost: Usd | None
    cost_nano: Nano | None
    thread: str
    account: str = ""


class Wanted(Asked):
    nano: int
    amount: Decimal = Decimal(0)


def add(call: Call) -> Sum:
    amounts = money(cost=call.body.nano + int(call.body.amount * 10**9))
    return Sum(**amounts, thread=threading.current_thread().name, account=call.account_id)


def fail(call: Call) -> Answer:
    faults = {
        "gone": NotFound("No such thing."),
        "twice": Conflict("It is there.", code="duplicate_event", data=Sum(**money(cost=1), thread="")),
        "removed": EventsRemoved(1_767_225_600_000),
        "store": StoreUnavailable("disk is full"),
        "sql": sa.exc.OperationalError("SELECT 1", {}, RuntimeError("locked")),
        "redis": RedisAway("away"),
        "bug": ZeroDivisionError("a secret of ours"),
        "key": NotFound("No such key obs_0123456789abcdef."),
    }
    raise faults[call.path["fault"]]


def export(_call: Call) -> Answer:
    return Answer(stream=(b"%d\n" % number for number in range(1_000)), media="text/csv")


def made(_call: Call) -> Answer:
    return Answer(Sum(**money(cost=None), thread=""), status=201, headers={"location": "/api/sums/1"})


ENDPOINTS = (
    Endpoint("POST", "/api/sums", "usage.read", "", "t", add, answer=Sum, body=Wanted),
    Endpoint("PUT", "/api/sums", "usage.read", "", "t", add, answer=Sum, body=Wanted, writes=True),
    Endpoint("POST", "/api/v1/sums", "usage.read", "", "t", add, answer=Sum, body=Wanted, bound="own"),
    Endpoint("GET", "/api/faults/{fault}", ANY, "", "t", fail, bound="open"),
    Endpoint("GET", "/api/v1/faults/{fault}", ANY, "", "t", fail, bound="open"),
    Endpoint("GET", "/api/export", None, "", "t", export, media=("text/csv",)),
    Endpoint("POST", "/api/made", None, "", "t", made, answer=Sum),
    Endpoint("GET", "/api/made/none", None, "", "t", lambda _: None, status=204),
    Endpoint("GET", "/api/made/{one}", None, "", "t", made, answer=Sum),
)


@pytest.fixture(scope="module")
def stack(simulator: Simulator) -> Iterator[Stack]:
    with running_stack(simulated_settings(simulator), api=ENDPOINTS) as started:
        yield started


@pytest.fixture
def keyed(stack: Stack, http: httpx2.Client) -> httpx2.Client:
    http.headers["authorization"] = f"Bearer {stack.key(scopes=('usage.read',))}"
    return http


def test_amounts_are_exact_in_both_forms(keyed: httpx2.Client) -> None:
    answer = keyed.post("/api/sums", content=b'{"nano": 9007199254740993, "amount": 0.000000001}')
    assert answer.text.startswith('{"cost":9007199.254740994,"cost_nano":"9007199254740994"')
    assert answer.json()["account"] == "default"
    assert answer.json()["thread"].startswith("api reader")
    assert keyed.put("/api/sums", json={"nano": 1}).json()["thread"].startswith("api writer")
    assert keyed.put("/api/sums", json={"nano": 10**9}).text.startswith('{"cost":1.00,')


def test_platform_paths_have_their_envelope(keyed: httpx2.Client) -> None:
    answer = keyed.post("/api/v1/sums", json={"nano": 5})
    assert answer.json()["success"] is True
    assert answer.json()["data"]["cost_nano"] == "5"
    wrong = keyed.post("/api/v1/sums", json={"nan": 5})
    assert wrong.status_code == 400
    assert wrong.json()["success"] is False
    assert wrong.json()["error"]["code"] in ("unknown_field", "invalid_request")


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("gone", 404, "not_found"),
        ("twice", 409, "duplicate_event"),
        ("removed", 400, "events_removed"),
        ("store", 503, "store_unavailable"),
        ("sql", 503, "store_unavailable"),
        ("redis", 503, "ledger_unavailable"),
        ("bug", 500, "internal_error"),
    ],
)
def test_faults_in_both_shapes(keyed: httpx2.Client, fault: str, status: int, code: str) -> None:
    bare, platform = keyed.get(f"/api/faults/{fault}"), keyed.get(f"/api/v1/faults/{fault}")
    assert bare.status_code == platform.status_code == status
    assert bare.json()["code"] == platform.json()["error"]["code"] == code
    assert "secret" not in bare.text + platform.text
    assert ("retry-after" in bare.headers) is (status == 503)
    if fault == "removed":
        since = "2026-01-01T00:00:00.000Z"
        said = f"All events are there since {since}."
        assert said in bare.json()["error"]
        assert said in platform.json()["error"]["message"]
        assert bare.json()["param"] == platform.json()["error"]["detail"] == "date_from"
        assert bare.json()["complete_since"] == platform.json()["error"]["completeSince"] == since
    if fault == "twice":
        assert platform.json()["data"]["cost_nano"] == "1"


def test_keys_are_not_repeated_in_errors(keyed: httpx2.Client) -> None:
    assert "0123456789abcdef" not in keyed.get("/api/faults/key").text


def test_who_may_ask(stack: Stack, http: httpx2.Client) -> None:
    def ask(secret: str | None, path: str = "/api/sums") -> httpx2.Response:
        headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
        return http.post(path, json={"nano": 1}, headers=headers)

    assert (ask(None).status_code, ask(None).json()["code"]) == (401, "invalid_api_key")
    assert ask(None).headers["www-authenticate"] == "Bearer"
    assert ask("obs_wrong").status_code == 401
    other = stack.key(scopes=("events.read",))
    assert (ask(other).status_code, ask(other).json()["code"]) == (403, "insufficient_scope")
    bound = stack.key(scopes=("usage.read",), customer="acme")
    assert (ask(bound).status_code, ask(bound).json()["code"]) == (403, "bound_key")
    assert ask(bound, "/api/v1/sums").status_code == 200
    featured = stack.key(scopes=("admin",), feature="search")
    assert ask(featured).status_code == 403
    ended = stack.key(scopes=("usage.read",))
    stack.revoke(ended)
    assert ask(ended).status_code == 401


def test_a_body_that_is_too_large_or_packed_is_refused(keyed: httpx2.Client) -> None:
    assert keyed.post("/api/sums", content=b" " * (64 * 1024 + 1)).status_code == 413
    packed = keyed.post("/api/sums", content=b"x", headers={"content-encoding": "gzip"})
    assert packed.status_code == 400


def test_other_kinds_of_answers(http: httpx2.Client) -> None:
    answer = http.get("/api/export")
    assert answer.headers["content-type"] == "text/csv"
    assert answer.text.splitlines() == [str(number) for number in range(1_000)]
    assert http.head("/api/export").content == b""
    created = http.post("/api/made")
    assert (created.status_code, created.headers["location"]) == (201, "/api/sums/1")
    assert created.json()["cost"] is None
    none = http.get("/api/made/none")
    assert (none.status_code, none.content) == (204, b"")
    assert http.get("/api/made/other").status_code == 201


def test_many_at_once_are_all_answered(stack: Stack) -> None:
    secret = stack.key(scopes=("usage.read",))

    def ask(number: int) -> str:
        answer = httpx2.post(
            f"{stack.base_url.removesuffix('/v1')}/api/sums",
            json={"nano": number},
            headers={"authorization": f"Bearer {secret}"},
            timeout=60,
        )
        return str(answer.json()["cost_nano"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(40))) == [str(number) for number in range(40)]
