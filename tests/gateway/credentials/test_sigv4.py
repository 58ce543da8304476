"""Amazon's signatures: against the vectors that Amazon publishes, and against the specification by hand."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from datetime import UTC, datetime
from functools import partial
from urllib.parse import quote

import botocore.auth
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.credentials.awskeys import AwsKeys, given_keys
from gateway.credentials.lease import Lease, Leased
from gateway.credentials.sigv4 import THREAD_BYTES, SigV4Credential
from gateway.transport.port import Headers

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YU"
    "uwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8Y"
    "QcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICC"
    "R/oLxBA=="
)
FORM = "application/x-www-form-urlencoded"
SUITE = "example.amazonaws.com"


def credential(
    service: str = "service", token: str | None = None, region: str = "us-east-1"
) -> SigV4Credential:
    keys = Leased("test", partial(given_keys, "test", "AKIDEXAMPLE", SECRET, token))
    return SigV4Credential(keys, region=region, service=service, secure=True)


@pytest.mark.parametrize(
    ("service", "host", "method", "target", "headers", "body", "token", "signature"),
    [
        # The suite of aws-c-auth, by its names: get-vanilla, post-vanilla, post-vanilla-query,
        # get-vanilla-query-order-key-case, post-x-www-form-urlencoded, the same with -parameters,
        # post-sts-header-before.
        # https://github.com/awslabs/aws-c-auth/tree/main/tests/aws-signing-test-suite/v4
        ("service", SUITE, "GET", "/", [], b"", None,
         "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("service", SUITE, "POST", "/", [], b"", None,
         "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("service", SUITE, "POST", "/?Param1=value1", [], b"", None,
         "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
        ("service", SUITE, "GET", "/?Param2=value2&Param1=value1", [], b"", None,
         "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ("service", SUITE, "POST", "/", [(b"content-type", FORM.encode())], b"Param1=value1", None,
         "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        ("service", SUITE, "POST", "/", [(b"content-type", f"{FORM}; charset=utf8".encode())],
         b"Param1=value1", None, "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"),
        ("service", SUITE, "POST", "/", [], b"", TOKEN,
         "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
        # The worked example of the documentation.
        # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
        ("iam", "iam.amazonaws.com", "GET", "/?Action=ListUsers&Version=2010-05-08",
         [(b"content-type", f"{FORM}; charset=utf-8".encode())], b"", None,
         "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"),
    ],
)  # fmt: skip
async def test_published_vectors(
    monkeypatch: pytest.MonkeyPatch, service: str, host: str, method: str, target: str, headers: Headers,
    body: bytes, token: str | None, signature: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: datetime(2015, 8, 30, 12, 36))
    made = dict(
        await credential(service, token).headers(method.encode(), host, target.encode(), headers, body)
    )
    signed = ["content-type"] * bool(headers) + ["host", "x-amz-date"]
    signed += ["x-amz-security-token"] * bool(token)
    assert made[b"authorization"].decode() == (
        f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request, "
        f"SignedHeaders={';'.join(signed)}, Signature={signature}"
    )
    assert made[b"x-amz-date"] == b"20150830T123600Z"
    assert made.get(b"x-amz-security-token") == (token.encode() if token else None)


def by_hand(
    made: dict[bytes, bytes], host: str, target: str, headers: dict[str, str], body: bytes, scope: list[str]
) -> str:
    """The signature by the steps of the specification, with nothing of botocore's."""
    path, _, query = target.partition("?")
    signed = {name: value for name, value in headers.items() if name == "content-type" or name[:5] == "x-amz"}
    signed |= {"host": host, "x-amz-date": made[b"x-amz-date"].decode()}
    if b"x-amz-security-token" in made:
        signed["x-amz-security-token"] = made[b"x-amz-security-token"].decode()
    canonical = "\n".join(
        [
            "POST",
            quote(path, safe="/~-._"),
            "&".join(sorted(query.split("&"))),
            *(f"{name}:{' '.join(signed[name].split())}" for name in sorted(signed)),
            "",
            ";".join(sorted(signed)),
            hashlib.sha256(body).hexdigest(),
        ]
    )
    words = ["AWS4-HMAC-SHA256", signed["x-amz-date"], "/".join(scope)]
    words.append(hashlib.sha256(canonical.encode()).hexdigest())
    key = ("AWS4" + SECRET).encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, "\n".join(words).encode(), "sha256").hex()


MODELS = st.sampled_from(
    [
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/abc",
        "amazon.nova-lite-v1:0",
    ]
)


@given(
    MODELS,
    st.sampled_from(["converse", "converse-stream", "invoke?a=b&Z=1&c=%20d"]),
    st.binary(max_size=300),
    st.dictionaries(
        st.sampled_from(["content-type", "accept", "user-agent", "x-amzn-bedrock-trace", "x-request-id"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    ),
    st.booleans(),
)
async def test_any_request_s_signature_is_that_of_the_specification(
    model: str, operation: str, body: bytes, headers: dict[str, str], temporary: bool
) -> None:
    target = f"/model/{quote(model, safe='')}/{operation}"
    host = "bedrock-runtime.eu-west-1.amazonaws.com"
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    one = credential("bedrock", TOKEN if temporary else None, "eu-west-1")
    made = dict(await one.headers(b"POST", host, target.encode(), sent, body))
    assert abs((datetime.strptime(made[b"x-amz-date"].decode() + "+0000", "%Y%m%dT%H%M%SZ%z")
                - datetime.now(UTC)).total_seconds()) < 300  # fmt: skip
    scope = [made[b"x-amz-date"].decode()[:8], "eu-west-1", "bedrock", "aws4_request"]
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})",
        made[b"authorization"].decode(),
    )
    assert found is not None
    assert found[1] == "/".join(scope)
    assert found[3] == by_hand(made, host, target, headers, body, scope)


async def test_a_long_body_is_signed_alike() -> None:
    body = b"x" * (THREAD_BYTES + 1)
    host, target = "bedrock-runtime.eu-west-1.amazonaws.com", "/model/m/converse"
    one = credential("bedrock", region="eu-west-1")
    made = dict(await one.headers(b"POST", host, target.encode(), [], body))
    scope = [made[b"x-amz-date"].decode()[:8], "eu-west-1", "bedrock", "aws4_request"]
    assert made[b"authorization"].decode().endswith(by_hand(made, host, target, {}, body, scope))


async def test_no_secret_is_shown_or_passed_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    one = credential("bedrock", TOKEN)
    assert await one.headers(b"POST", "h", b"/", [], b"")
    assert TOKEN not in caplog.text
    assert one.redacted(f"x {SECRET} {TOKEN} AKIDEXAMPLE".encode()) == b"x [redacted] [redacted] [redacted]"
    for shown in (repr(one), repr(AwsKeys("AKIDEXAMPLE", SECRET, TOKEN)), repr(Lease(AwsKeys("A", SECRET)))):
        assert SECRET not in shown
        assert TOKEN not in shown
