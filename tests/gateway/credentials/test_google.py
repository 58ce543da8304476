"""Google's tokens: a service account against a token server on a real socket, which checks the assertion."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from structlog.testing import capture_logs

from gateway.credentials import google, lease
from gateway.credentials.credential import CredentialFault
from gateway.credentials.google import GoogleCredential, fetch_token
from gateway.credentials.lease import Leased
from tests.gateway.credentials.asked import Asked, Question, answering

EMAIL = "gateway@project.iam.gserviceaccount.com"
PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class TokenServer:
    """Gives `token-1`, `token-2`, ... to whoever shows an assertion that the account's key signed."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key
        self.expires_in = 3_600
        self.refuses: tuple[int, dict[str, Any]] | None = None
        self.given = 0

    def __call__(self, question: Question) -> tuple[int, bytes]:
        if self.refuses is not None:
            return self.refuses[0], json.dumps(self.refuses[1]).encode()
        form = parse_qs(question.body.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        head, claims, signature = form["assertion"][0].split(".")
        self._key.public_key().verify(
            unpacked(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        claimed = json.loads(unpacked(claims))
        assert claimed["iss"] == EMAIL
        assert claimed["aud"] == "https://oauth2.googleapis.com/token"
        assert claimed["scope"] == "https://www.googleapis.com/auth/cloud-platform"
        assert claimed["iat"] <= time.time() + 60 < claimed["exp"] + 60
        self.given += 1
        answer = {
            "access_token": f"token-{self.given}",
            "expires_in": self.expires_in,
            "token_type": "Bearer",
        }
        return 200, json.dumps(answer).encode()


def unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.fixture
def tokens(key: rsa.RSAPrivateKey) -> TokenServer:
    return TokenServer(key)


@pytest.fixture
def server(tokens: TokenServer) -> Iterator[Asked]:
    with answering(tokens) as asked:
        yield asked


@pytest.fixture
def account(tmp_path: Path, key: rsa.RSAPrivateKey, server: Asked) -> Path:
    return written(tmp_path / "account.json", key, server.url + "/token")


def written(path: Path, key: rsa.RSAPrivateKey, token_uri: str) -> Path:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    document = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": EMAIL,
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(document))
    return path


def credential(file: Path | None) -> GoogleCredential:
    return GoogleCredential(Leased("vertex", partial(fetch_token, "vertex", file, None)))


async def authorization(one: GoogleCredential) -> bytes:
    made = await one.headers(b"POST", "aiplatform.googleapis.com", b"/v1/x", [], b"{}")
    ((name, value),) = made
    assert name == b"authorization"
    return value


async def test_a_service_account_s_token_is_fetched_once_and_sent(account: Path, tokens: TokenServer) -> None:
    one = credential(account)
    one.start()
    sent = await asyncio.gather(*(authorization(one) for _ in range(10)))
    assert sent == [b"Bearer token-1"] * 10
    assert tokens.given == 1
    assert one.redacted(b"no, token-1 is bad") == b"no, [redacted] is bad"
    assert "token-1" not in repr(one)
    one.close()


@pytest.mark.wide
async def test_the_next_token_is_fetched_before_the_first_one_ends(
    monkeypatch: pytest.MonkeyPatch, account: Path, tokens: TokenServer
) -> None:
    monkeypatch.setattr(lease, "MARGIN_S", 0.0)
    tokens.expires_in = 2
    one = credential(account)
    assert await authorization(one) == b"Bearer token-1"
    tokens.expires_in = 3_600
    async with asyncio.timeout(PATIENCE_S):
        while await authorization(one) != b"Bearer token-2":
            await asyncio.sleep(0.02)
    assert tokens.given == 2
    one.close()


async def test_the_environment_s_own_identity_serves_where_no_file_is_named(
    monkeypatch: pytest.MonkeyPatch, account: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(account))
    one = credential(None)
    assert await authorization(one) == b"Bearer token-1"
    one.close()
    monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "billing")
    two = credential(None)
    made = await two.headers(b"POST", "aiplatform.googleapis.com", b"/v1/x", [], b"{}")
    assert made == [(b"authorization", b"Bearer token-2"), (b"x-goog-user-project", b"billing")]
    two.close()


async def test_a_key_that_was_revoked_is_the_operator_s_to_mend(account: Path, tokens: TokenServer) -> None:
    tokens.refuses = (400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
    one = credential(account)
    with pytest.raises(CredentialFault, match="RefreshError: invalid_grant") as caught:
        await authorization(one)
    one.close()
    assert caught.value.refused


@pytest.mark.wide
async def test_a_token_server_in_trouble_is_not_the_operator_s_fault(
    monkeypatch: pytest.MonkeyPatch, account: Path, tokens: TokenServer, server: Asked
) -> None:
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)
    tokens.refuses = (503, {"error": "temporarily_unavailable"})
    one = credential(account)
    with pytest.raises(CredentialFault) as caught:
        await authorization(one)
    assert not caught.value.refused
    assert len(server.questions) >= 2
    tokens.refuses = None
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                assert await authorization(one) == b"Bearer token-1"
                break
            except CredentialFault:
                await asyncio.sleep(0.05)
    one.close()


async def test_a_token_server_that_is_away_or_silent_is_not_the_operator_s_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: rsa.RSAPrivateKey
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/token"
        monkeypatch.setattr(google, "ASK_S", 0.2)
        file = written(tmp_path / "silent.json", key, address)
        with pytest.raises(CredentialFault, match="TransportError") as caught:
            fetch_token("vertex", file, None)
        assert not caught.value.refused
    with pytest.raises(CredentialFault, match="TransportError") as caught:
        fetch_token("vertex", file, None)
    assert not caught.value.refused


async def test_an_answer_without_a_token_is_not_repeated_in_the_log(
    account: Path, tokens: TokenServer
) -> None:
    tokens.refuses = (200, {"id_token": "very-secret"})
    one = credential(account)
    with capture_logs() as logs, pytest.raises(CredentialFault) as caught:
        await authorization(one)
    one.close()
    assert caught.value.refused
    assert "very-secret" not in str(logs) + str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("{", "no usable key"),
        ('{"type": "service_account"}', "missing fields"),
        (
            '{"client_email": "a", "token_uri": "http://h/", "private_key": "PRIVATE-WORDS"}',
            "no usable key",
        ),
    ],
)
def test_a_file_that_is_no_key_is_named_and_its_words_are_not(
    tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "account.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CredentialFault, match=said) as caught:
        fetch_token("vertex", file, None)
    assert caught.value.refused
    assert "account.json" in str(caught.value)
    assert "PRIVATE-WORDS" not in str(caught.value)


async def test_a_rejected_token_is_replaced(
    monkeypatch: pytest.MonkeyPatch, account: Path, tokens: TokenServer
) -> None:
    one = credential(account)
    assert await authorization(one) == b"Bearer token-1"
    monkeypatch.setattr(lease, "REJECTED_EVERY_S", 0.0)
    one.rejected()
    async with asyncio.timeout(PATIENCE_S):
        while await authorization(one) != b"Bearer token-2":
            await asyncio.sleep(0.01)
    assert tokens.given == 2
    one.close()
