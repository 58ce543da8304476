"""What a request to generate says, part by part, and how many input tokens that is.

Only the pieces of texts count, and structures as the compact JSON they are; an image counts 258 tokens, and
so does a page of a document.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import orjson

from simulator.gemini.dialect import part, wrong
from simulator.prompt import Prompt

MEDIA = 258
BYTES_PER_PAGE = 3_000
_SEAL = b"simulated thought"
_UNSIGNED = "skip_thought_signature_validator"
"""What Google takes in the place of a signature for a call that it did not make."""


def signature(said: str) -> str:
    """What proves that a part came from here unchanged."""
    return base64.b64encode(blake2b(said.encode(), digest_size=48, key=_SEAL).digest()).decode()


def called(name: str, arguments: Any) -> str:
    """A function call as a text, to be counted and signed."""
    return f"{name}{orjson.dumps(arguments or {}, option=orjson.OPT_SORT_KEYS).decode()}"


@dataclass(slots=True)
class Said:
    """A prompt, and how much of it is of which modality."""

    prompt: Prompt = field(default_factory=Prompt)
    modalities: dict[str, int] = field(default_factory=dict)

    def add(self, modality: str, fixed: int, label: str, text: str = "") -> None:
        """Append fixed tokens and the pieces of a text."""
        before = self.prompt.total
        self.prompt.add(fixed, label, text)
        self.modalities[modality] = self.modalities.get(modality, 0) + self.prompt.total - before


def read_said(body: dict[str, Any], *, signs: bool) -> Said:
    """Read system instruction, tools and contents. Raises Refusal on what Google would refuse.

    `signs`: the calls of the turn that still runs must carry the signatures they came with.
    """
    said = Said()
    system = part(body, "systemInstruction")
    if system is not None:
        for each in _parts(system, "system_instruction"):
            said.add("TEXT", 0, "system", str(part(each, "text") or ""))
    for tool in body.get("tools") or ():
        said.add("TEXT", 0, "tool", orjson.dumps(tool).decode())
    contents = body.get("contents")
    if isinstance(contents, (str, dict)):
        contents = [contents]
    if not isinstance(contents, list) or not contents:
        raise wrong("* GenerateContentRequest.contents: contents is not specified\n", "contents")
    running = _running_turn(contents)
    calls = 0
    for number, content in enumerate(contents):
        role = content.get("role") or "user" if isinstance(content, dict) else "user"
        if role not in ("user", "model", "function"):
            raise wrong("Please use a valid role: user, model.", f"contents[{number}].role")
        parts = _parts(content, f"contents[{number}]")
        answers = sum(part(each, "functionResponse") is not None for each in parts)
        if answers != calls and (calls or answers):
            raise wrong(
                "Please ensure that the number of function response parts is equal to the number of function "
                "call parts of the function call turn."
            )
        calls = sum(part(each, "functionCall") is not None for each in parts)
        if signs and calls and number > running:
            _check_signature(next(each for each in parts if part(each, "functionCall") is not None), number)
        texts = [text for each in parts if (text := _read_part(said, each, number))]
        if role == "user" and texts:
            said.prompt.last_user = "\n".join(texts)
        said.prompt.ends_with_tool = answers > 0
    return said


def _running_turn(contents: list[Any]) -> int:
    """The number of the last content in which the user said something, rather than a function."""
    for number in range(len(contents) - 1, -1, -1):
        content = contents[number]
        if not isinstance(content, dict) or content.get("role", "user") != "user":
            continue
        parts = content.get("parts")
        if not isinstance(parts, list) or any(
            isinstance(each, dict) and each.get("text") is not None for each in parts
        ):
            return number
    return -1


def _parts(content: Any, where: str) -> list[Any]:
    if isinstance(content, str):
        return [{"text": content}]
    parts = part(content, "parts")
    if isinstance(parts, dict):
        parts = [parts]
    if not isinstance(parts, list) or not parts:
        raise wrong(f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty.\n", where)
    return parts


def _check_signature(each: Any, number: int) -> None:
    call = part(each, "functionCall")
    given = part(each, "thoughtSignature")
    if given is None:
        raise wrong(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools "
            f"to work correctly. Additional data, function call `{call.get('name')}`, position {number}."
        )
    # Bytes may come in either alphabet of base64.
    made = str(given).replace("-", "+").replace("_", "/")
    if given != _UNSIGNED and made != signature(called(str(call.get("name")), call.get("args"))):
        raise wrong("Thought signature is not valid.")


def _read_part(said: Said, each: Any, number: int) -> str:
    """Count one part; the text that it says."""
    text = part(each, "text")
    if text is not None:
        if not isinstance(text, str):
            raise wrong("Invalid value for 'text': expected a string.", f"contents[{number}].parts.text")
        if part(each, "thought"):
            return ""
        said.add("TEXT", 0, "text", text)
        return text
    call = part(each, "functionCall")
    if call is not None:
        said.add("TEXT", 0, "call", called(str(call.get("name")), call.get("args")))
        return ""
    for name in ("functionResponse", "executableCode", "codeExecutionResult"):
        value = part(each, name)
        if value is not None:
            said.add("TEXT", 0, name, orjson.dumps(value).decode())
            return ""
    media = part(each, "inlineData") or part(each, "fileData")
    if media is None:
        raise wrong("Unable to submit request: a part has to have data.", f"contents[{number}].parts")
    _read_media(said, media)
    return ""


def _read_media(said: Said, media: Any) -> None:
    kind = str(part(media, "mimeType") or "")
    data = str(part(media, "data") or part(media, "fileUri") or "")
    if kind.startswith("image/"):
        said.add("IMAGE", MEDIA, f"image {data}")
    elif kind.startswith("text/"):
        said.add("TEXT", 0, "file", base64.b64decode(data).decode(errors="replace"))
    elif kind == "application/pdf":
        pages = max(1, len(data) * 3 // 4 // BYTES_PER_PAGE)
        said.add("DOCUMENT", MEDIA * pages, f"document {data}")
    else:
        raise wrong(f"Unsupported MIME type: {kind}", "mime_type")
