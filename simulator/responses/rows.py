"""The paths of Responses."""

from __future__ import annotations

from typing import Any

from simulator.dialect import Row
from simulator.openai import OPENAI
from simulator.responses.paths import (
    read_create,
    read_kept,
    read_list,
    say_cancel,
    say_create,
    say_delete,
    say_kept,
    say_list,
)

_ONE = "/v1/responses/{response}"

ROWS: tuple[Row[Any], ...] = (
    Row("POST", "/v1/responses", OPENAI, read_create, say_create),
    Row("GET", _ONE, OPENAI, read_kept, say_kept, billed=False),
    Row("DELETE", _ONE, OPENAI, read_kept, say_delete, billed=False),
    Row("POST", f"{_ONE}/cancel", OPENAI, read_kept, say_cancel, billed=False),
    Row("GET", f"{_ONE}/input_items", OPENAI, read_list, say_list, billed=False),
)
