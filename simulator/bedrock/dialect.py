"""Bedrock's dialect: signed requests or bearer keys, and errors that a header names and a body explains.

Formats: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html and
https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from simulator.bedrock.frames import exception
from simulator.bedrock.signature import ALGORITHM, verify
from simulator.dialect import Dialect
from simulator.errors import Refusal
from simulator.openai import bearer, refused_key
from simulator.wire import Reply, Request

ERRORS: dict[int, tuple[str, str]] = {
    400: ("ValidationException", "The provided request is not valid."),
    401: ("UnrecognizedClientException", "The security token included in the request is invalid."),
    403: ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
    404: ("ResourceNotFoundException", "The specified resource ARN was not found."),
    408: ("ModelTimeoutException", "Model has timed out in processing the request. Try your request again."),
    424: ("ModelErrorException", "The model returned an error while processing your request."),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    500: ("InternalServerException", "The system encountered an unexpected error during processing."),
    503: ("ServiceUnavailableException", "Too many connections, please wait before trying again."),
}
STREAM_ERROR = "The system encountered an unexpected error during processing. Try your request again."
_ORIGIN = "http://internal.amazon.com/coral/com.amazon.bedrock/"


class Bedrock(Dialect):
    """Errors, credentials and headers as Amazon's."""

    def claims(self, request: Request) -> bool:
        return request.path.startswith("/model/")

    def request_id(self, serial: str) -> str:
        return str(UUID(serial))

    def credential(self, request: Request) -> str:
        """The access key whose secret signed the request, or a bearer key of Bedrock's own."""
        given = request.header(b"authorization") or ""
        if given.startswith(ALGORITHM):
            return verify(request)
        key = bearer(request)
        if not key:
            raise Refusal(403, "Missing Authentication Token", code="MissingAuthenticationTokenException")
        if refused_key(key):
            raise Refusal(403, "Authentication failed: Please make sure your API Key is valid.")
        return key

    def unreadable(self) -> Refusal:
        return Refusal(400, "The request body is not a JSON object.", code="SerializationException")

    def headers(self, request_id: str, processing_ms: int) -> bytes:
        return b"x-amzn-requestid: %b\r\n" % request_id.encode()

    def refused(self, refusal: Refusal, request_id: str) -> Reply:
        kind = refusal.code or ERRORS.get(refusal.status, ERRORS[500 if refusal.status >= 500 else 400])[0]
        named = ("x-amzn-errortype", f"{kind}:{_ORIGIN}")
        body = orjson.dumps({"message": refusal.message})
        return Reply(refusal.status, body, headers=(named, *refusal.headers))

    def wanted(self, status: int, *, code: str | None, headers: tuple[tuple[str, str], ...]) -> Refusal:
        kind, message = ERRORS.get(status, ERRORS[500 if status >= 500 else 400])
        return Refusal(status, message, code=code or kind, headers=headers)

    def fault(self, request_id: str) -> bytes:
        return orjson.dumps({"message": STREAM_ERROR})

    def no_such_path(self, request: Request, *, other_method: bool) -> Refusal:
        return Refusal(
            404,
            "Unable to determine service/operation name to be authorized",
            code="UnknownOperationException",
        )


BEDROCK = Bedrock()


def stream_fault(code: str | None) -> bytes:
    """The message that ends a stream in the middle: the model's error, or the exception that `code` names."""
    kind = "modelStreamErrorException" if code is None else code[:1].lower() + code[1:]
    body: dict[str, Any] = {"message": STREAM_ERROR}
    if kind == "modelStreamErrorException":
        body |= {"originalStatusCode": 500, "originalMessage": "The model stopped."}
    return exception(kind, orjson.dumps(body))
