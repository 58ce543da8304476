"""Amazon Bedrock's dialects, from outside: their errors, their framed streams, the texts in their answers.

Shapes: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html and
API_runtime_InvokeModelWithResponseStream.html. A message of a stream is taken for one object: what it
carries, under the name of its kind, as the API's reference tells its union.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, ClassVar

import orjson

from gateway.dialects import eventstream
from gateway.dialects.anthropic import ANTHROPIC
from gateway.dialects.dialect import LENGTH, TOOL_CALLS, Dialect
from gateway.dialects.exchange import RawHeaders
from gateway.errors import GatewayError
from metering.usage.bedrock import read_invoke_headers
from metering.usage.reading import Reading, objects, part

_ERRORS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    413: "ValidationException",
    429: "ThrottlingException",
    502: "ModelErrorException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}
"""Status -> the exception that Amazon's SDKs raise. https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html"""
_REASONS = {"max_tokens": LENGTH, "tool_use": TOOL_CALLS}
_EXCEPTION = "modelStreamErrorException"


class Bedrock(Dialect):
    """What Converse and InvokeModel have in common."""

    id_header: ClassVar[bytes | None] = b"x-amzn-requestid"
    error_mark: ClassVar[bytes] = b"xception"
    stream_type: ClassVar[bytes] = eventstream.CONTENT_TYPE
    in_lines: ClassVar[bool] = False
    takes_comments: ClassVar[bool] = False
    event_bytes_max: ClassVar[int] = 16 * 1024 * 1024
    last_boundary = staticmethod(eventstream.last_boundary)
    events = staticmethod(eventstream.events)

    @staticmethod
    def event_data(event: bytes) -> bytes | None:
        """The message itself: its headers say what it carries."""
        return event

    def document(self, data: bytes) -> dict[str, Any] | None:
        """A whole answer's object, or {name of the event: what it carries}."""
        if data[:1] == b"{":
            return super().document(data)
        message = eventstream.read_message(data)
        if message is None:
            return None
        payload = super().document(message.payload)
        if message.head.failed:
            said = part({"p": payload}, "p").get("message")
            return {"error": {"type": message.head.name, "message": said}}
        return None if payload is None else self.event(message.head.name, payload)

    def event(self, name: str, payload: dict[str, Any]) -> dict[str, Any] | None:
        """The object that an event stands for."""
        return {name: payload}

    def error_body(self, error: GatewayError, message: str, request_id: str) -> bytes:
        """{"message"}, with our code and the field that is wrong."""
        return orjson.dumps({"message": message, "code": error.code, "param": error.param, **error.details})

    def error_headers(self, error: GatewayError) -> RawHeaders:
        """The exception's name, by which SDKs choose their class."""
        name = _ERRORS.get(error.status, "InternalServerException" if error.status >= 500 else _ERRORS[400])
        return [(b"x-amzn-errortype", name.encode())]

    def error_event(self, message: str, kind: str, code: str) -> bytes:
        """An exception, on which SDKs raise."""
        headers = {
            ":exception-type": _EXCEPTION,
            ":content-type": "application/json",
            ":message-type": "exception",
        }
        return eventstream.write_message(headers, orjson.dumps({"message": message, "code": code}))


class Converse(Bedrock):
    """The format of Converse and ConverseStream."""

    name = "bedrock.converse"
    usage_mark: ClassVar[re.Pattern[bytes]] = re.compile(rb'"usage"\s*:\s*\{')

    def ends(self, data: bytes, document: dict[str, Any] | None) -> bool:
        """`metadata`, with the usage, comes after `messageStop`."""
        return document is not None and "metadata" in document

    def text(self, document: dict[str, Any]) -> str:
        """Texts, thoughts, and names and inputs of tools."""
        found: list[Any] = []
        start = part(part(document, "contentBlockStart"), "start")
        found.append(part(start, "toolUse").get("name"))
        delta = part(part(document, "contentBlockDelta"), "delta")
        for block in (delta, *_content(document)):
            tool, thought = part(block, "toolUse"), part(block, "reasoningContent")
            found += [block.get("text"), thought.get("text"), part(thought, "reasoningText").get("text")]
            found += [tool.get("name"), _told(tool.get("input"))]
        return "".join(said for said in found if isinstance(said, str))

    def answer_text(self, document: dict[str, Any]) -> str:
        """The texts alone."""
        delta = part(part(document, "contentBlockDelta"), "delta")
        texts = (block.get("text") for block in (delta, *_content(document)))
        return "".join(text for text in texts if isinstance(text, str))

    def reasons(self, document: dict[str, Any]) -> list[str]:
        """Why it stopped."""
        reason = (part(document, "messageStop") or document).get("stopReason")
        return [_REASONS.get(reason, reason)] if isinstance(reason, str) else []


class Invoke(Bedrock):
    """The format of InvokeModel: each maker's own, in chunks where it is streamed."""

    name = "bedrock.invoke"
    # Chunks are encoded: what is searched for in them never stands there, so the first and the last are read.
    usage_mark: ClassVar[re.Pattern[bytes] | None] = None
    interim_usage: ClassVar[bool] = True

    def event(self, name: str, payload: dict[str, Any]) -> dict[str, Any] | None:
        """The object inside a chunk."""
        encoded = payload.get("bytes")
        if not isinstance(encoded, str):
            return {name: payload}
        try:
            return Dialect.document(self, base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError):
            return None

    def ends(self, data: bytes, document: dict[str, Any] | None) -> bool:
        """The chunk to which Bedrock adds its metrics."""
        return document is not None and "amazon-bedrock-invocationMetrics" in document

    def text(self, document: dict[str, Any]) -> str:
        """What the makers' formats carry, as far as they are known."""
        if "type" in document:
            return ANTHROPIC.text(document)
        found = [document.get(name) for name in ("generation", "outputText", "completion")]
        for holder in ("results", "outputs", "choices"):
            for each in objects(document.get(holder)):
                message = part(each, "message") or part(each, "delta")
                found += [each.get("outputText"), each.get("text"), message.get("content")]
        return "".join(said for said in found if isinstance(said, str)) or CONVERSE.text(document)

    def answer_text(self, document: dict[str, Any]) -> str:
        """The texts alone, where the format tells them apart."""
        return ANTHROPIC.answer_text(document) if "type" in document else self.text(document)

    def reasons(self, document: dict[str, Any]) -> list[str]:
        """Why it stopped, by whatever name."""
        if "type" in document:
            return ANTHROPIC.reasons(document)
        reason = document.get("stop_reason") or document.get("stopReason") or document.get("completionReason")
        return [LENGTH if str(reason).lower() in ("length", "max_tokens") else str(reason)] if reason else []

    def error(self, document: dict[str, Any]) -> dict[str, Any] | None:
        """Of a frame, or of an Anthropic chunk."""
        found = document.get("error")
        return found if isinstance(found, dict) else None

    def read_headers(self, headers: RawHeaders, before: Reading) -> Reading:
        """Bedrock counts in headers what a body may leave out: embeddings, say."""
        return read_invoke_headers(
            {name.decode(): value.decode("latin-1") for name, value in headers}, before
        )


def _content(document: dict[str, Any]) -> list[Any]:
    return objects(part(part(document, "output"), "message").get("content"))


def _told(value: Any) -> str:
    """A tool's input: text in a stream, an object in a whole answer."""
    return value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()


CONVERSE, INVOKE = Converse(), Invoke()
