"""TLS: whom we trust, as whom we come, and what is told when it fails."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.transport import Kind, Timeouts, TransportOptions, UnusableOptions, build_transport
from gateway.transport.errors import ConnectFailed, ConnectionLost, ConnectTimeout, TlsFailed
from gateway.transport.tls import client_context
from tests.gateway.transport.conftest import PATIENT, Build, Serve
from tests.gateway.transport.script import Peer, with_length

MIB = 1024 * 1024
BODY = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="module")
def client_files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A client certificate and its key."""
    directory = tmp_path_factory.mktemp("client")
    issued = authority.issue_cert("gateway@example.com")
    issued.cert_chain_pems[0].write_to_path(str(directory / "client.pem"))
    issued.private_key_pem.write_to_path(str(directory / "client.key"))
    return directory / "client.pem", directory / "client.key"


@asynccontextmanager
async def tls_server(
    authority: trustme.CA, *names: str, demand: bool = False
) -> AsyncIterator[tuple[int, list[str | None]]]:
    """Echoes the length of each body over TLS; yields its port and who came with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])
    if demand:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    visitors: list[str | None] = []
    writers: list[asyncio.StreamWriter] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        visitors.append("certificate" if writer.get_extra_info("peercert") else None)
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, OSError):
                writer.close()
                return
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            body = await reader.readexactly(length)
            writer.write(with_length(body))

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], visitors
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()


async def test_a_trusted_server_is_talked_to_and_its_connection_kept(
    build: Build, authority: trustme.CA, bundle: Path
) -> None:
    async with tls_server(authority, "localhost") as (port, visitors):
        transport = build(f"https://localhost:{port}", ca_bundle=bundle)
        for turn in range(3):
            answer = await transport.send(b"POST", b"/", [], BODY, timeouts=PATIENT)
            assert await answer.read(2 * MIB) == BODY
            assert answer.connection_reused == (turn > 0)
        assert visitors == [None]


async def test_an_address_can_be_what_the_certificate_names(
    build: Build, authority: trustme.CA, bundle: Path
) -> None:
    async with tls_server(authority, "127.0.0.1") as (port, _):
        answer = await build(f"https://127.0.0.1:{port}", ca_bundle=bundle).send(
            b"POST", b"/", [], b"{}", timeouts=PATIENT
        )
        assert await answer.read(MIB) == b"{}"


async def test_a_certificate_of_an_unknown_authority_is_refused_before_anything_is_sent(
    build: Build, authority: trustme.CA, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with tls_server(authority, "localhost") as (port, _):
        for options in ({"ca_bundle": other}, {}):
            with pytest.raises(TlsFailed) as caught:
                await build(f"https://localhost:{port}", **options).send(
                    b"POST", b"/", [], b"{}", timeouts=PATIENT
                )
            assert not caught.value.request_sent


async def test_the_environment_does_not_extend_the_trust(
    build: Build, authority: trustme.CA, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    async with tls_server(authority, "localhost") as (port, _):
        with pytest.raises(TlsFailed):
            await build(f"https://localhost:{port}").send(b"POST", b"/", [], b"{}", timeouts=PATIENT)


async def test_a_certificate_for_another_name_is_refused(
    build: Build, authority: trustme.CA, bundle: Path
) -> None:
    async with tls_server(authority, "elsewhere.example") as (port, _):
        with pytest.raises(TlsFailed, match=r"localhost|ostname") as caught:
            await build(f"https://localhost:{port}", ca_bundle=bundle).send(
                b"POST", b"/", [], b"{}", timeouts=PATIENT
            )
        assert not caught.value.request_sent


async def test_the_client_certificate_is_shown_to_a_server_that_asks(
    build: Build, authority: trustme.CA, bundle: Path, client_files: tuple[Path, Path]
) -> None:
    certificate, key = client_files
    async with tls_server(authority, "localhost", demand=True) as (port, visitors):
        transport = build(
            f"https://localhost:{port}", ca_bundle=bundle, client_certificate=certificate, client_key=key
        )
        answer = await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
        assert await answer.read(MIB) == b"{}"
        assert visitors == ["certificate"]


async def test_a_server_that_misses_the_client_certificate_says_so_after_the_handshake(
    build: Build, authority: trustme.CA, bundle: Path, kind: Kind
) -> None:
    """With TLS 1.3 the verdict comes when the first request is already out; it was not read all the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    done = threading.Event()

    def serve_one(listener: socket.socket) -> None:
        raw, _ = listener.accept()
        with raw.dup():  # held open, so that the alert is not overtaken by a reset
            tls = context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
            with pytest.raises(ssl.SSLError):
                tls.do_handshake()
            done.wait(10)
            tls.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.ensure_future(asyncio.to_thread(serve_one, listener))
        transport = build(f"https://localhost:{listener.getsockname()[1]}", ca_bundle=bundle)
        try:
            # aiohttp calls it a lost connection, of unknown cost, and sometimes notices while still writing.
            fault, words = (
                (TlsFailed, "(?i)certificate")
                if kind == "native"
                else (ConnectionLost, "(?i)certificate|write request body")
            )
            with pytest.raises(fault, match=words) as caught:
                await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
            assert caught.value.request_sent == (kind != "native")
        finally:
            done.set()
            await serving


async def test_a_server_that_drops_us_for_a_missing_certificate_without_a_word_is_a_lost_connection(
    build: Build, authority: trustme.CA, bundle: Path
) -> None:
    async with tls_server(authority, "localhost", demand=True) as (port, visitors):
        with pytest.raises(ConnectionLost):
            await build(f"https://localhost:{port}", ca_bundle=bundle).send(
                b"POST", b"/", [], b"{}", timeouts=PATIENT
            )
        assert visitors == []


async def test_a_server_that_does_not_speak_tls_is_a_failed_connect(
    build: Build, serve: Serve, bundle: Path, kind: Kind
) -> None:
    async def script(peer: Peer) -> None:
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()

    server = await serve(script)
    transport = build(server.origin.replace("http:", "https:"), ca_bundle=bundle)
    with pytest.raises(TlsFailed) as caught:
        await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert not caught.value.request_sent


async def test_a_server_that_closes_in_the_handshake_is_a_failed_connect(
    build: Build, serve: Serve, bundle: Path, kind: Kind
) -> None:
    async def script(peer: Peer) -> None:
        peer.close()

    server = await serve(script)
    transport = build(server.origin.replace("http:", "https:"), ca_bundle=bundle)
    # aiohttp does not tell a close in the handshake from one before it.
    with pytest.raises(TlsFailed if kind == "native" else ConnectFailed) as caught:
        await transport.send(b"POST", b"/", [], b"{}", timeouts=PATIENT)
    assert not caught.value.request_sent


async def test_a_handshake_that_hangs_is_a_connect_timeout(build: Build, serve: Serve, bundle: Path) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    server = await serve(script)
    transport = build(server.origin.replace("http:", "https:"), ca_bundle=bundle)
    with pytest.raises(ConnectTimeout) as caught:
        await transport.send(b"POST", b"/", [], b"{}", timeouts=Timeouts(connect_s=0.1))
    assert not caught.value.request_sent


def test_files_that_cannot_be_used_are_named_when_the_transport_is_built(
    tmp_path: Path, bundle: Path, kind: Kind
) -> None:
    missing = tmp_path / "missing.pem"
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    unusable: list[tuple[dict[str, Any], str]] = [
        ({"ca_bundle": missing}, "ca_bundle"),
        ({"ca_bundle": empty}, "ca_bundle"),
        ({"client_certificate": missing}, "client_certificate"),
        ({"client_certificate": bundle}, "client_certificate"),
        ({"client_key": bundle}, "client_key"),
    ]
    for options, word in unusable:
        with pytest.raises(UnusableOptions, match=word):
            build_transport(TransportOptions("https://example.com", **options), kind)


def test_a_directory_of_certificates_can_be_trusted(bundle: Path) -> None:
    context = client_context(TransportOptions("https://example.com", ca_bundle=bundle.parent))
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
