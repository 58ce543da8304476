"""Amazon's keys: found where Amazon's own tools find them, by botocore itself, on real files and sockets."""

from __future__ import annotations

import asyncio
import json
import os
import time
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from gateway.credentials import lease
from gateway.credentials.awskeys import AwsKeys, find_keys, given_keys
from gateway.credentials.credential import CredentialFault
from gateway.credentials.lease import Leased
from gateway.credentials.sigv4 import SigV4Credential
from tests.gateway.credentials.asked import Question, answering

PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [each for each in os.environ if each.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))


def find(profile: str | None = None) -> lease.Lease[AwsKeys]:
    return find_keys("bedrock", profile, "us-east-1")


def test_the_environment_s_keys_are_taken_and_do_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    found = find()
    assert (found.value, found.ends_at) == (AwsKeys("AKID", "secret", "session"), None)


def test_a_profile_of_the_shared_files_is_taken_and_read_anew(tmp_path: Path) -> None:
    shared = tmp_path / "credentials"
    shared.write_text("[work]\naws_access_key_id = OLD\naws_secret_access_key = s\n")
    assert find("work").value == AwsKeys("OLD", "s")
    shared.write_text("[work]\naws_access_key_id = NEW\naws_secret_access_key = t\n")
    assert find("work").value == AwsKeys("NEW", "t")


def test_a_profile_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id = P\naws_secret_access_key = s\n")
    assert find("work").value.access_key == "P"
    assert find().value.access_key == "AKID"


def test_keys_that_end_are_known_to_the_second(tmp_path: Path) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=5_000)
    printed = {
        "Version": 1,
        "AccessKeyId": "TEMP",
        "SecretAccessKey": "s",
        "SessionToken": "t",
        "Expiration": ends.isoformat(),
    }
    (tmp_path / "keys.json").write_text(json.dumps(printed))
    (tmp_path / "config").write_text(f"[profile made]\ncredential_process = cat {tmp_path / 'keys.json'}\n")
    found = find("made")
    assert found.value == AwsKeys("TEMP", "s", "t")
    assert found.ends_at is not None
    assert ends.timestamp() - 3 <= found.ends_at <= ends.timestamp() + 3


@pytest.mark.parametrize(
    ("profile", "config", "said"),
    [
        (None, "", "no Amazon keys in the environment"),
        ("absent", "", r"The config profile \(absent\) could not be found"),
        ("broken", "[profile broken]\ncredential_process = false\n", "CredentialRetrievalError"),
        ("odd", "[profile odd]\ncredential_process = echo {}\n", "CredentialRetrievalError"),
    ],
)
def test_what_lacks_is_the_operator_s_to_mend(
    tmp_path: Path, profile: str | None, config: str, said: str
) -> None:
    (tmp_path / "config").write_text(config)
    with pytest.raises(CredentialFault, match=said) as caught:
        find(profile)
    assert caught.value.refused
    assert str(caught.value).startswith("Credential of bedrock: ")


def test_variables_that_are_named_and_not_set_are_not_replaced_by_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "SOMEONE-ELSE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(CredentialFault, match="are not set") as caught:
        given_keys("bedrock", None, "secret", None)
    assert caught.value.refused


async def test_a_container_s_role_is_asked_again_before_its_keys_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ECS and EKS: an address that gives temporary keys."""
    given = 0

    def give(question: Question) -> tuple[int, bytes]:
        nonlocal given
        assert question.headers["authorization"] == "pod-token"
        given += 1
        ends = datetime.fromtimestamp(time.time() + 3_600, UTC)
        keys = {"AccessKeyId": f"ROLE{given}", "SecretAccessKey": "s", "Token": f"session-{given}"}
        return 200, json.dumps(keys | {"Expiration": ends.isoformat()}).encode()

    with answering(give) as asked:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{asked.url}/role")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-token")
        # Due 300 s before the end: with an hour to go, 0.2 s from now.
        monkeypatch.setattr(lease, "due_in_s", lambda left_s: 0.2 if given == 1 else left_s)
        keys = Leased("bedrock", partial(find_keys, "bedrock", None, "us-east-1"))
        one = SigV4Credential(keys, region="us-east-1", service="bedrock", secure=True)
        made = dict(await one.headers(b"POST", "h", b"/", [], b""))
        assert made[b"x-amz-security-token"] == b"session-1"
        assert b"Credential=ROLE1/" in made[b"authorization"]
        async with asyncio.timeout(PATIENCE_S):
            while (
                dict(await one.headers(b"POST", "h", b"/", [], b""))[b"x-amz-security-token"] != b"session-2"
            ):
                await asyncio.sleep(0.02)
        assert given == 2
        one.close()


def assumed(ends: datetime) -> bytes:
    return f"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
      <AssumeRoleWithWebIdentityResult><Credentials>
        <AccessKeyId>WEB</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
        <Expiration>{ends.strftime("%Y-%m-%dT%H:%M:%SZ")}</Expiration>
      </Credentials></AssumeRoleWithWebIdentityResult>
    </AssumeRoleWithWebIdentityResponse>""".encode()


DENIED = b"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>
  <Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform this</Message>
</Error></ErrorResponse>"""


@pytest.mark.wide
@pytest.mark.parametrize(
    ("status", "body", "refused"),
    [
        (200, None, None),
        (403, DENIED, True),
        (500, DENIED.replace(b"AccessDenied", b"InternalFailure"), False),
    ],
)
def test_a_pod_s_web_identity_is_exchanged_at_amazon_s_token_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int, body: bytes | None, refused: bool | None
) -> None:
    ends = datetime.now(UTC) + timedelta(seconds=3_000)
    (tmp_path / "token").write_text("pod-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/gateway")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with answering(lambda _: (status, body or assumed(ends))) as asked:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", asked.url)
        if refused is None:
            found = find()
            assert found.value == AwsKeys("WEB", "s", "t")
            assert found.ends_at is not None
            assert abs(found.ends_at - ends.timestamp()) < 30
        else:
            with pytest.raises(CredentialFault) as caught:
                find()
            assert caught.value.refused == refused
            assert "pod-token" not in str(caught.value)
    assert b"WebIdentityToken=pod-token" in asked.questions[0].body


async def test_a_role_s_server_in_trouble_may_get_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0)
    with answering(lambda _: (500, b"{}")) as asked:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{asked.url}/role")
        with pytest.raises(CredentialFault) as caught:
            find()
        assert not caught.value.refused
