"""The value files of all processes, added up, as Prometheus reads them.

prometheus_client's own collector parses every key anew at each scrape (3,200 series in two workers' files:
some 200 ms). Here files are added up by their keys' raw bytes, and a key is parsed once in the life of this
process; there are as many as there are series, which is a bounded number.

A file is the library's own (mmap_dict.py): a 32-bit length in use, four bytes, then for each value the
length of its key, the key (JSON: family, name, labels, help) padded to eight bytes, the value and a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from struct import Struct

_LENGTH = Struct("=i")
_VALUE = Struct("=d")
KINDS = {
    "counter": "counter",
    "histogram": "histogram",
    "gauge_livesum": "gauge",
    "gauge_livemax": "gauge",
}


@dataclass(frozen=True, slots=True)
class _Key:
    """One parsed key. `labels` as text, without a bucket's bound, which is `bound`."""

    family: str
    name: str
    labels: str
    help: str
    bound: float | None


_keys: dict[bytes, _Key] = {}


def collect(directory: Path | None) -> bytes:
    """What the value files hold now, in Prometheus' text format; None: this process' metrics alone."""
    if directory is None:
        from prometheus_client import REGISTRY, generate_latest

        return generate_latest(REGISTRY)
    sums: dict[str, dict[bytes, float]] = {}
    for path in sorted(directory.glob("*.db")):
        kind = path.stem.rpartition("_")[0]
        if kind not in KINDS:
            raise ValueError(f"{path.name}: a kind of metric that is not added up here")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # its process has ended meanwhile
        _add(sums.setdefault(kind, {}), data, highest=kind == "gauge_livemax")
    lines: list[str] = []
    for kind, values in sums.items():
        lines += _histograms(values) if kind == "histogram" else _plain(KINDS[kind], values)
    return "".join(lines).encode()


def _add(sums: dict[bytes, float], data: bytes, *, highest: bool) -> None:
    for key, value in _entries(data):
        former = sums.get(key)
        if former is None:
            sums[key] = value
        else:
            sums[key] = max(former, value) if highest else former + value


def _entries(data: bytes) -> Iterator[tuple[bytes, float]]:
    used = min(_LENGTH.unpack_from(data)[0], len(data)) if len(data) >= 8 else 0
    at = 8
    while at < used:
        length = _LENGTH.unpack_from(data, at)[0]
        at += 4
        yield data[at : at + length], _VALUE.unpack_from(data, at + length + 8 - (length + 4) % 8)[0]
        at += length + 8 - (length + 4) % 8 + 16


def _plain(kind: str, values: dict[bytes, float]) -> Iterator[str]:
    families: dict[str, list[str]] = {}
    for raw, value in values.items():
        key = _parsed(raw)
        lines = families.get(key.name)
        if lines is None:
            lines = families[key.name] = [_heading(key.name, key.help, kind)]
        lines.append(f"{key.name}{_braced(key.labels)} {_number(value)}\n")
    for lines in families.values():
        yield from lines


def _histograms(values: dict[bytes, float]) -> Iterator[str]:
    """Buckets are kept one by one and told as sums of those below; their last is the count."""
    families: dict[str, tuple[str, dict[str, dict[float, float]], dict[str, float]]] = {}
    for raw, value in values.items():
        key = _parsed(raw)
        _, buckets, totals = families.setdefault(key.family, (key.help, {}, {}))
        if key.bound is not None:
            buckets.setdefault(key.labels, {})[key.bound] = value
        else:
            totals[key.labels] = value
    for family, (text, buckets, totals) in families.items():
        yield _heading(family, text, "histogram")
        for labels, counts in buckets.items():
            below = 0.0
            for bound in sorted(counts):
                below += counts[bound]
                with_bound = f'{labels},le="{_number(bound)}"'.lstrip(",")
                yield f"{family}_bucket{{{with_bound}}} {_number(below)}\n"
            yield f"{family}_count{_braced(labels)} {_number(below)}\n"
            yield f"{family}_sum{_braced(labels)} {_number(totals.get(labels, 0.0))}\n"


def _parsed(raw: bytes) -> _Key:
    found = _keys.get(raw)
    if found is None:
        family, name, labels, text = json.loads(raw)
        bound = labels.pop("le", None) if name.endswith("_bucket") else None
        shown = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels.items()))
        limit = None if bound is None else inf if bound == "+Inf" else float(bound)
        found = _keys[raw] = _Key(family, name, shown, text, limit)
    return found


def _heading(name: str, text: str, kind: str) -> str:
    shown = text.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {shown}\n# TYPE {name} {kind}\n"


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    """As Go writes it: whole where it is, and infinity with its sign."""
    if value == inf:
        return "+Inf"
    return repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
