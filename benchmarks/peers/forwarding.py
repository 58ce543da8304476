"""Whether a peer really forwards: its answers are the upstream's own, and the upstream was asked for them."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from benchmarks.stage import CLIENT_HEADERS
from benchmarks.subject import PATH, Subject

PATIENCE_S = 30.0
WHOLE: dict[str, Any] = {"model": "bench-1kb", "messages": [{"role": "user", "content": "hello"}]}
STREAM: dict[str, Any] = {**WHOLE, "model": "bench-unpaced-200", "stream": True}


class NotForwarded(Exception):
    """What came through a peer is not what the upstream answers; the sentence says what it was."""


def check_forwarding(subject: Subject, upstream_port: int) -> None:
    """One whole answer and one stream through the subject, compared with the upstream's. NotForwarded."""
    origin = f"http://127.0.0.1:{upstream_port}"
    through = f"http://{subject.host}:{subject.port}{subject.path}"
    # Some ask for usage on their own account, as ours does, and the upstream's chunks have less text then.
    asking_usage = {**STREAM, "stream_options": {"include_usage": True}}
    for document, alike in ((WHOLE, (WHOLE,)), (STREAM, (STREAM, asking_usage))):
        kind = "stream" if document.get("stream") else "answer"
        wanted = [content_of(_post(f"{origin}{PATH}", CLIENT_HEADERS, each)) for each in alike]
        before = _answered(origin)
        got = content_of(_post(through, subject.headers, document))
        if _answered(origin) != before + 1:
            raise NotForwarded(
                f"one request of {subject.name} made {_answered(origin) - before} of the upstream"
            )
        if got not in wanted:
            raise NotForwarded(f"a {kind} through {subject.name} has other content: {got[:200]!r}")


def content_of(raw: bytes) -> str:
    """The text of a chat completion, or of all chunks of a whole stream. NotForwarded if it is neither."""
    try:
        if not raw.lstrip().startswith(b"data:"):
            return str(json.loads(raw)["choices"][0]["message"]["content"])
        lines = [line[5:].strip() for line in raw.splitlines() if line.startswith(b"data:")]
        if lines[-1] != b"[DONE]":
            raise NotForwarded(f"a stream ended with {lines[-1][:200]!r}")
        chunks = [json.loads(line) for line in lines[:-1]]
        return "".join(
            choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
        )
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise NotForwarded(f"not an answer: {raw[:200]!r}") from error


def _post(url: str, headers: Sequence[tuple[str, str]], document: dict[str, Any]) -> bytes:
    request = urllib.request.Request(
        url,
        data=json.dumps(document).encode(),
        headers={**dict(headers), "Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            body: bytes = answer.read()
    except urllib.error.HTTPError as error:
        raise NotForwarded(f"HTTP {error.code}: {error.read(300).decode(errors='replace')}") from None
    except OSError as error:
        raise NotForwarded(str(error)) from error
    return body


def _answered(origin: str) -> int:
    with urllib.request.urlopen(f"{origin}/counts", timeout=PATIENCE_S) as answer:
        count: int = json.loads(answer.read())["requests"]
    return count
