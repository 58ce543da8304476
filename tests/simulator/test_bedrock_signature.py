"""Who may ask the simulated Bedrock, and what: signatures made by Amazon's own signer, then tampered with."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from simulator.bedrock.signature import ACCESS_KEY, SECRET_KEY, VALID_S
from simulator.process import Simulator
from tests.simulator.amazon import amazon, user

PATH = "/model/us.amazon.nova-micro-v1%3A0/converse"


class Signed:
    """Requests that the SDK's own signer signs, to be changed before or after."""

    def __init__(self, http: httpx2.Client, root: str) -> None:
        self.http = http
        self.root = root
        self.body = json.dumps({"messages": user("Hi [[simulate: tokens=1]]")}).encode()

    def headers(
        self,
        *,
        access: str = ACCESS_KEY,
        secret: str = SECRET_KEY,
        service: str = "bedrock",
        path: str = PATH,
        more: dict[str, str] | None = None,
    ) -> dict[str, str]:
        request = AWSRequest("POST", self.root + path, headers=more or {}, data=self.body)
        SigV4Auth(Credentials(access, secret), service, "us-east-1").add_auth(request)
        return dict(request.headers.items())

    def send(
        self, headers: dict[str, str], *, path: str = PATH, body: bytes | None = None
    ) -> httpx2.Response:
        return self.http.post(path, content=self.body if body is None else body, headers=headers)


@pytest.fixture
def signed(http: httpx2.Client, simulator: Simulator) -> Signed:
    return Signed(http, simulator.root)


def kind_of(answer: httpx2.Response) -> tuple[int, str]:
    assert set(answer.json()) == {"message"}
    return answer.status_code, answer.headers["x-amzn-errortype"].partition(":")[0]


def test_what_the_sdk_signs_is_accepted(signed: Signed) -> None:
    assert signed.send(signed.headers()).status_code == 200
    spaced = signed.headers(more={"x-amz-meta": "a   b", "x-amz-security-token": "session"})
    assert signed.send(spaced).status_code == 200
    query = f"{PATH}?b=2&a=1%2F2&a="
    assert signed.send(signed.headers(path=query), path=query).status_code == 200


def test_whatever_is_changed_breaks_the_signature(signed: Signed) -> None:
    good = signed.headers(more={"x-amz-meta": "a"})
    wrong = (403, "InvalidSignatureException")
    assert kind_of(signed.send(good, body=signed.body + b" ")) == wrong
    assert kind_of(signed.send(good, path=PATH + "-stream")) == wrong
    assert kind_of(signed.send({**good, "x-amz-meta": "b"})) == wrong
    assert kind_of(signed.send({**good, "x-amz-other": "unsigned"})) == wrong
    assert kind_of(signed.send(signed.headers(secret=SECRET_KEY + "x"))) == wrong
    assert kind_of(signed.send(signed.headers(service="s3"))) == wrong
    altered = good["Authorization"][:-1] + ("0" if good["Authorization"][-1] != "0" else "1")
    assert kind_of(signed.send({**good, "Authorization": altered})) == wrong


def test_unknown_keys_and_half_signatures_are_refused(signed: Signed) -> None:
    assert kind_of(signed.send(signed.headers(access="AKIDOTHER"))) == (403, "UnrecognizedClientException")
    good = signed.headers()
    for authorization in (
        "AWS4-HMAC-SHA256",
        good["Authorization"].partition(", Signature")[0],
        good["Authorization"].replace("aws4_request", "aws5_request"),
    ):
        answer = signed.send({**good, "Authorization": authorization})
        assert kind_of(answer) == (403, "IncompleteSignatureException")
    assert kind_of(signed.send({**good, "X-Amz-Date": "19990101T000000Z"})) == (
        403,
        "IncompleteSignatureException",
    )


@pytest.mark.parametrize("away_s", [-VALID_S - 60, VALID_S + 60])
def test_signatures_are_good_for_five_minutes(
    signed: Signed, monkeypatch: pytest.MonkeyPatch, away_s: float
) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=away_s)
    monkeypatch.setattr(
        "botocore.auth.get_current_datetime", lambda remove_tzinfo=True: moment.replace(tzinfo=None)
    )
    answer = signed.send(signed.headers())
    assert kind_of(answer) == (403, "InvalidSignatureException")
    assert "Signature expired" in answer.json()["message"]


def test_bearer_keys_are_taken_and_leaked_ones_refused(signed: Signed, simulator: Simulator) -> None:
    assert signed.send({"authorization": "Bearer bedrock-api-key-x"}).status_code == 200
    assert kind_of(signed.send({"authorization": "Bearer obs_leaked"})) == (403, "AccessDeniedException")
    assert kind_of(signed.send({"authorization": ""})) == (403, "MissingAuthenticationTokenException")
    shown = [dict(each["headers"])["authorization"] for each in simulator.received()]
    assert shown == ["****ey-x", "****aked", "****"]


def test_unknown_models_paths_and_bodies(signed: Signed) -> None:
    bedrock = amazon(signed.root)
    with pytest.raises(bedrock.exceptions.ValidationException, match="model identifier is invalid"):
        bedrock.converse(modelId="us.amazon.nova-micro-v1:O", messages=user("Hi"))
    arn = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-micro-v1:0"
    assert bedrock.converse(modelId=arn, messages=user("Hi"))["stopReason"] == "end_turn"
    bearer = {"authorization": "Bearer key"}
    assert kind_of(signed.send(bearer, path="/model/x/nothing")) == (404, "UnknownOperationException")
    assert kind_of(signed.send(bearer, body=b"[]")) == (400, "SerializationException")
    for content in ([], [{"video": {}}], [{"image": {"format": "png", "source": {"bytes": "AAAA"}}}]):
        body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
        assert kind_of(signed.send(bearer, body=body)) == (400, "ValidationException")
