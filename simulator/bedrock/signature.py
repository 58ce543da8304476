"""Signature Version 4, verified: the same sum over the request, made from the same secret, must come out.

The specification: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html.
A request has a canonical form (method, path, query, the signed headers, the body's digest); its digest, the
time and the scope are signed with a key derived from the secret, the day, the region and the service.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from calendar import timegm
from dataclasses import dataclass
from urllib.parse import quote

from simulator.errors import Refusal
from simulator.wire import Request

ALGORITHM = "AWS4-HMAC-SHA256"
ACCESS_KEY = "AKIDSIMULATOR"
SECRET_KEY = "simulator/secret+key/for/tests/and/demos"
SERVICE = "bedrock"
VALID_S = 300
_TERMINAL = "aws4_request"
_TIME = re.compile(r"\d{8}T\d{6}Z")
_HEADER = re.compile(r"Credential=([^,\s]+)\s*,\s*SignedHeaders=([^,\s]+)\s*,\s*Signature=([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Claim:
    """What an `Authorization` header says of itself."""

    access_key: str
    day: str
    region: str
    service: str
    signed: tuple[str, ...]
    signature: str

    @property
    def scope(self) -> str:
        """Where and when the signature holds."""
        return f"{self.day}/{self.region}/{self.service}/{_TERMINAL}"


def verify(request: Request, *, now: float | None = None) -> str:
    """The access key that really signed `request`. Raises Refusal (403) as AWS does."""
    claim = _read(request.header(b"authorization") or "")
    if claim.access_key != ACCESS_KEY:
        raise _refusal(
            "UnrecognizedClientException", "The security token included in the request is invalid."
        )
    moment = request.header(b"x-amz-date") or ""
    if not _TIME.fullmatch(moment) or not moment.startswith(claim.day):
        raise _incomplete("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date.")
    if claim.service != SERVICE:
        raise _mismatch(f"Credential should be scoped to correct service: '{SERVICE}'.")
    age = (time.time() if now is None else now) - timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ"))
    if abs(age) > VALID_S:
        raise _mismatch(f"Signature expired: {moment} is {age:.0f} seconds from now")
    unsigned = {"host", *_amazons(request)} - set(claim.signed)
    if unsigned:
        raise _mismatch(f"'{min(unsigned)}' must be a 'SignedHeader' in the AWS Authorization.")
    if not hmac.compare_digest(claim.signature, _signature(request, claim, moment)):
        raise _mismatch(
            "The request signature we calculated does not match the signature you provided. Check your AWS "
            "Secret Access Key and signing method. Consult the service documentation for details."
        )
    return claim.access_key


def _read(header: str) -> Claim:
    kind, _, rest = header.partition(" ")
    found = _HEADER.fullmatch(rest.strip())
    parts = found[1].split("/") if found else []
    if kind != ALGORITHM or found is None or len(parts) != 5 or parts[4] != _TERMINAL:
        raise _incomplete(
            "Authorization header requires 'Credential' parameter, 'SignedHeaders' parameter and 'Signature' "
            "parameter."
        )
    access_key, day, region, service, _ = parts
    return Claim(access_key, day, region, service, tuple(found[2].split(";")), found[3])


def _amazons(request: Request) -> set[str]:
    """The request's own x-amz headers, which have to be signed."""
    names = {name.decode("latin-1") for name, _ in request.headers}
    return {name for name in names if name.startswith("x-amz-")}


def _signature(request: Request, claim: Claim, moment: str) -> str:
    digest = hashlib.sha256(_canonical(request, claim.signed).encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{moment}\n{claim.scope}\n{digest}"
    key = f"AWS4{SECRET_KEY}".encode()
    for part in (claim.day, claim.region, claim.service, _TERMINAL):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _canonical(request: Request, signed: tuple[str, ...]) -> str:
    """The request in its canonical form. Query and path arrive encoded; the path is encoded once more."""
    query = sorted(part.partition("=")[::2] for part in request.query.split("&") if part)
    lines = [
        request.method,
        quote(request.path, safe="/-_.~"),
        "&".join(f"{name}={value}" for name, value in query),
    ]
    lines += [f"{name}:{_value(request, name)}" for name in signed]
    return "\n".join([*lines, "", ";".join(signed), hashlib.sha256(request.body).hexdigest()])


def _value(request: Request, name: str) -> str:
    """A header's values in order, white space inside them reduced to one space."""
    values = [value.decode("latin-1") for known, value in request.headers if known == name.encode("latin-1")]
    return ",".join(" ".join(value.split()) for value in values)


def _refusal(kind: str, message: str) -> Refusal:
    return Refusal(403, message, code=kind)


def _incomplete(message: str) -> Refusal:
    return _refusal("IncompleteSignatureException", message)


def _mismatch(message: str) -> Refusal:
    return _refusal("InvalidSignatureException", message)
