"""The relay carries requests to the api process and answers back byte for byte, whatever happens there.

What stands in for the api process is a server of a few lines on a unix socket that records what it is sent
and answers what the test says; the worker before it is a whole one.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from gateway.settings import ApiSettings, ServerSettings
from simulator.process import Simulator
from tests.gateway.conftest import simulated_settings
from tests.stack import Stack, running_stack, wait_until

BODY_MAX = 4_096
Say = Callable[[bytes, socket.socket], None]


@dataclass
class StandIn:
    """A server on a unix socket; `say` answers a request, whole bytes of which are in `heard`."""

    path: Path
    heard: list[bytes] = field(default_factory=list)
    say: Say = lambda request, client: None
    listener: socket.socket | None = None
    ended: int = 0

    def listen(self, waiting: int = 64) -> None:
        """Listen; more than `waiting` unaccepted connections find no place."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen(waiting)
        threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()

    def close(self) -> None:
        if self.listener is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.path.unlink()
            self.listener = None

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client: socket.socket) -> None:
        with client:
            data = b""
            while True:
                try:
                    part = client.recv(65_536)
                except OSError:
                    part = b""
                if not part:
                    self.ended += 1
                    return
                data += part
                if (whole := _whole(data)) is not None:
                    request, data = data[:whole], data[whole:]
                    self.heard.append(request)
                    try:
                        self.say(request, client)
                    except OSError:
                        self.ended += 1
                        return


def _whole(data: bytes) -> int | None:
    """The length of the first request in the data, once it is all there."""
    head, found, _ = data.partition(b"\r\n\r\n")
    if not found:
        return None
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    total = len(head) + 4 + length
    return total if len(data) >= total else None


@pytest.fixture(scope="module")
def stand_in() -> Iterator[StandIn]:
    with tempfile.TemporaryDirectory() as folder:
        yield StandIn(Path(folder) / "api.sock")


@pytest.fixture(scope="module")
def relaying(simulator: Simulator, stand_in: StandIn) -> Iterator[Stack]:
    settings = simulated_settings(
        simulator, api=ApiSettings(answer_s=1.0), server=ServerSettings(body_bytes_max=BODY_MAX)
    )
    with running_stack(settings, api=stand_in.path) as started:
        yield started


@pytest.fixture
def api(stand_in: StandIn) -> Iterator[StandIn]:
    stand_in.heard.clear()
    stand_in.say = lambda request, client: None
    stand_in.listen()
    yield stand_in
    stand_in.close()


@pytest.fixture
def http(relaying: Stack) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=relaying.base_url.removesuffix("/v1"), timeout=60) as opened:
        yield opened


def answering(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> Say:
    head = b"\r\n".join([b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers])

    def say(_request: bytes, client: socket.socket) -> None:
        client.sendall(head + b"\r\n\r\n" + body)

    return say


def headers_of(request: bytes) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        found.setdefault(name.lower(), []).append(value)
    return found


def test_target_headers_and_body_arrive_as_they_were_sent(api: StandIn, http: httpx2.Client) -> None:
    api.say = answering(
        b'{"a":1}', b"content-type: application/json", b"x-one: 1", b"x-one: 2", status=b"201 Created"
    )
    target = "/api/things/a%2Fb%20c?x=%C3%A4&empty=&x=2"
    answer = http.post(
        target,
        content=b"\x00raw \xff bytes",
        headers={
            "authorization": "Bearer obs_x",
            "x-own": "kept",
            "connection": "keep-alive, x-hop",
            "x-hop": "no",
        },
    )
    assert (answer.status_code, answer.content) == (201, b'{"a":1}')
    assert answer.headers.get_list("x-one") == ["1", "2"]
    request = api.heard[-1]
    assert request.startswith(b"POST " + target.encode() + b" HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\n\x00raw \xff bytes")
    sent = headers_of(request)
    assert sent["authorization"] == ["Bearer obs_x"]
    assert sent["x-own"] == ["kept"]
    assert "x-hop" not in sent


def test_nobody_says_for_himself_where_he_comes_from(api: StandIn, http: httpx2.Client) -> None:
    api.say = answering(b"{}")
    http.get("/api/things", headers={"x-tollkeeper-address": "10.9.8.7"})
    assert headers_of(api.heard[-1])["x-tollkeeper-address"] == ["127.0.0.1"]


def test_what_the_client_accepts_is_told_under_a_name_of_its_own(api: StandIn, http: httpx2.Client) -> None:
    packed = gzip.compress(b"a file")
    api.say = answering(packed, b"x-tollkeeper-content-encoding: gzip")
    sent = {"accept-encoding": "gzip", "x-tollkeeper-accept-encoding": "br"}
    answer = http.get("/api/things", headers=sent)
    heard = headers_of(api.heard[-1])
    assert (heard["accept-encoding"], heard["x-tollkeeper-accept-encoding"]) == (["identity"], ["gzip"])
    assert (answer.headers["content-encoding"], answer.content) == ("gzip", b"a file")
    assert "x-tollkeeper-content-encoding" not in answer.headers


def test_a_head_has_a_length_and_no_body(api: StandIn, http: httpx2.Client) -> None:
    def say(_request: bytes, client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n")

    api.say = say
    for _ in range(2):  # and the connection is good for more
        answer = http.head("/api/things")
        assert (answer.headers["content-length"], answer.content) == ("1234", b"")


def test_a_long_answer_comes_as_it_is_made(api: StandIn, http: httpx2.Client) -> None:
    go_on = threading.Event()

    def say(_request: bytes, client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert go_on.wait(30)
        client.sendall(b"4\r\nlast\r\n0\r\n\r\n")

    api.say = say
    with http.stream("GET", "/api/export") as answer:
        parts = answer.iter_raw()
        assert next(parts) == b"first"
        go_on.set()
        assert b"".join(parts) == b"last"


def test_who_leaves_is_not_read_on_for(api: StandIn, http: httpx2.Client) -> None:
    def say(_request: bytes, client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            client.sendall(b"400\r\n" + bytes(1_024) + b"\r\n")

    api.say = say
    before = api.ended
    with http.stream("GET", "/api/export") as answer:
        next(answer.iter_raw())
    wait_until(lambda: api.ended > before)


def test_an_answer_that_breaks_off_is_not_taken_for_whole(api: StandIn, http: httpx2.Client) -> None:
    def say(_request: bytes, client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        client.shutdown(socket.SHUT_RDWR)

    api.say = say
    with pytest.raises(httpx2.RemoteProtocolError):
        http.get("/api/export")


def test_a_question_is_asked_again_where_the_process_died_over_it(api: StandIn, http: httpx2.Client) -> None:
    died: list[bytes] = []
    whole = answering(b'{"again":true}')

    def say(request: bytes, client: socket.socket) -> None:
        if died:
            whole(request, client)
        else:
            died.append(request)
            client.shutdown(socket.SHUT_RDWR)

    api.say = say
    assert http.get("/api/things").json() == {"again": True}
    assert len(api.heard) == 2


def test_what_may_have_been_done_is_not_done_again(api: StandIn, http: httpx2.Client) -> None:
    def say(_request: bytes, client: socket.socket) -> None:
        client.shutdown(socket.SHUT_RDWR)

    api.say = say
    answer = http.post("/api/things", json={"make": "one"})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "not known" in answer.json()["error"]
    assert answer.json()["code"] == "api_unavailable"
    assert len(api.heard) == 1


@pytest.mark.parametrize("path", ["/api/things", "/api/v1/things"])
def test_without_a_process_the_client_is_told_to_come_back(
    stand_in: StandIn, http: httpx2.Client, path: str
) -> None:
    assert not stand_in.path.exists()
    answer = http.post(path, json={})
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-request-id"]
    code = answer.json()["error"]["code"] if "v1" in path else answer.json()["code"]
    assert code == "api_unavailable"


def test_who_is_slow_to_answer_is_not_waited_for_without_end(api: StandIn, http: httpx2.Client) -> None:
    answer = http.get("/api/things")  # nothing is said
    assert answer.status_code == 504
    assert answer.json()["code"] == "api_timeout"


def test_a_body_beyond_the_gateways_bound_goes_nowhere(api: StandIn, http: httpx2.Client) -> None:
    api.say = answering(b"{}")
    assert http.post("/api/things", content=bytes(BODY_MAX)).status_code == 200
    answer = http.post("/api/things", content=bytes(BODY_MAX + 1))
    assert answer.status_code == 413
    assert len(api.heard) == 1


async def test_a_hundred_at_once_each_get_their_own_answer(api: StandIn, relaying: Stack) -> None:
    api.close()
    api.listen(waiting=2)  # most of the hundred find no place at first

    def say(request: bytes, client: socket.socket) -> None:
        time.sleep(0.005)
        answering(request.split(b" ", 2)[1])(request, client)

    api.say = say
    url = relaying.base_url.removesuffix("/v1")
    async with httpx2.AsyncClient(base_url=url, timeout=60) as many:
        targets = [f"/api/things/{number}" for number in range(100)]
        answers = await asyncio.gather(*(many.get(target) for target in targets))
    assert [each.text for each in answers] == targets
