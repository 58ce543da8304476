"""Every path that is answered, and by what. A new dialect is a file and its rows here."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from simulator.answer import read_chat_call, say_chat
from simulator.anthropic.rows import ROWS as ANTHROPIC_ROWS
from simulator.bedrock.rows import ROWS as BEDROCK_ROWS
from simulator.cohere.rows import ROWS as COHERE_ROWS
from simulator.completions import read_completion_call, say_completion
from simulator.dialect import Dialect, Row
from simulator.embeddings import read_embedding_call, say_embedding
from simulator.gemini.rows import ROWS as GEMINI_ROWS
from simulator.moderations import read_moderation_call, say_moderation
from simulator.openai import OPENAI, read_models, say_models
from simulator.responses.rows import ROWS as RESPONSES_ROWS
from simulator.wire import Request

ROWS: tuple[Row[Any], ...] = (
    Row("POST", "/v1/chat/completions", OPENAI, read_chat_call, say_chat),
    Row("POST", "/v1/completions", OPENAI, read_completion_call, say_completion),
    Row("POST", "/v1/embeddings", OPENAI, read_embedding_call, say_embedding),
    Row("POST", "/v1/moderations", OPENAI, read_moderation_call, say_moderation),
    Row("GET", "/v1/models", OPENAI, read_models, say_models, billed=False),
    Row("GET", "/v1/models/{model}", OPENAI, read_models, say_models, billed=False),
    *RESPONSES_ROWS,
    *ANTHROPIC_ROWS,
    *GEMINI_ROWS,
    *COHERE_ROWS,
    *BEDROCK_ROWS,
)

DIALECTS: tuple[Dialect, ...] = tuple(dict.fromkeys(row.dialect for row in ROWS))


def _pattern(path: str) -> re.Pattern[str]:
    """A template as an expression: `{name}` is one part of the path, `{name*}` any number of them."""
    expression = ""
    for part in re.split(r"(\{\w+\*?\})", path):
        if not part.startswith("{"):
            expression += re.escape(part)
        elif part.endswith("*}"):
            expression += f"(?P<{part[1:-2]}>.+)"
        else:
            expression += f"(?P<{part[1:-1]}>[^/]+)"
    return re.compile(expression)


_BY_PATH: dict[str, list[Row[Any]]] = {}
_TEMPLATES: list[tuple[re.Pattern[str], Row[Any]]] = []
for _row in sorted(ROWS, key=lambda row: not row.particular):
    if "{" in _row.path:
        _TEMPLATES.append((_pattern(_row.path), _row))
    else:
        _BY_PATH.setdefault(_row.path, []).append(_row)


def find(request: Request) -> tuple[Row[Any] | None, dict[str, str], bool]:
    """The row that serves `request`, the named parts of its path, and whether only the method is wrong."""
    method = "GET" if request.method == "HEAD" else request.method
    other_method = False
    for row in _BY_PATH.get(request.path, ()):
        if row.serves(request, method):
            return row, {}, False
        other_method = True
    if other_method:
        return None, {}, True
    for pattern, row in _TEMPLATES:
        if (match := pattern.fullmatch(request.path)) is None:
            continue
        if row.serves(request, method):
            return row, {name: unquote(value) for name, value in match.groupdict().items()}, False
        other_method = True
    return None, {}, other_method


def dialect_of(request: Request) -> Dialect:
    """The dialect in which a request that no row serves is refused: OpenAI's, unless one claims it."""
    return next((dialect for dialect in DIALECTS if dialect.claims(request)), OPENAI)
