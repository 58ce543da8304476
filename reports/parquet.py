"""An export as Parquet, by pyarrow where it is installed: `pip install 'tollkeeper[parquet]'`.

Amounts are decimals of 38 digits, with 9 places for nano-USD and 12 for pico-USD; moments are UTC.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import islice
from typing import Any

import orjson

from reports.columns import Column, Line

ROWS_AT_ONCE = 20_000
"""Of one row group: what is in memory at once."""


class NoParquet(Exception):
    """pyarrow is not installed; the text says what to do."""

    def __init__(self) -> None:
        super().__init__(
            "Parquet needs pyarrow, which is not installed: pip install 'tollkeeper[parquet]', or choose csv "
            "or jsonl"
        )


def check_parquet() -> None:
    """Raise NoParquet where it cannot be written."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise NoParquet from None


def parquet_parts(columns: Sequence[Column], lines: Iterable[Line]) -> Iterator[bytes]:
    """The table as the parts of one Parquet file. Raises NoParquet."""
    check_parquet()
    import pyarrow
    import pyarrow.parquet

    types = {
        "text": pyarrow.string(),
        "json": pyarrow.string(),
        "whole": pyarrow.int64(),
        "decimal": pyarrow.decimal128(38, 0),
        "truth": pyarrow.bool_(),
        "moment": pyarrow.timestamp("ms", tz="UTC"),
        "second": pyarrow.timestamp("ms", tz="UTC"),
        "nano": pyarrow.decimal128(38, 9),
        "pico": pyarrow.decimal128(38, 12),
    }
    schema = pyarrow.schema([(column.name, types[column.kind]) for column in columns])
    out = io.BytesIO()
    sink = _Passing(out)
    rows = iter(lines)
    with pyarrow.parquet.ParquetWriter(pyarrow.PythonFile(sink, mode="w"), schema) as writer:
        while group := list(islice(rows, ROWS_AT_ONCE)):
            arrays = [
                pyarrow.array([_cell(column, line[n]) for line in group], type=types[column.kind])
                for n, column in enumerate(columns)
            ]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))
            yield sink.taken()
    yield sink.taken()


class _Passing(io.RawIOBase):
    """A file that is only written to, and whose content is taken away as it grows."""

    def __init__(self, out: io.BytesIO) -> None:
        self._out = out
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        written = self._out.write(data)
        self._position += written
        return written

    def tell(self) -> int:
        return self._position

    def taken(self) -> bytes:
        part = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return part


def _cell(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind == "nano":
        return Decimal(value).scaleb(-9)
    if column.kind == "pico":
        return Decimal(value).scaleb(-12)
    if column.kind == "json":
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return value
