"""Bedrock's paths."""

from __future__ import annotations

from typing import Any

from simulator.bedrock.converse import read_converse, say_converse, say_converse_stream
from simulator.bedrock.dialect import BEDROCK
from simulator.bedrock.invoke import read_invoke, say_invoke, say_invoke_stream
from simulator.dialect import Row

_MODEL = "/model/{model}"

ROWS: tuple[Row[Any], ...] = (
    Row("POST", f"{_MODEL}/converse", BEDROCK, read_converse, say_converse),
    Row("POST", f"{_MODEL}/converse-stream", BEDROCK, read_converse, say_converse_stream),
    Row("POST", f"{_MODEL}/invoke", BEDROCK, read_invoke, say_invoke),
    Row("POST", f"{_MODEL}/invoke-with-response-stream", BEDROCK, read_invoke, say_invoke_stream),
)
