"""Attribution: what one request says of whom it is for, and the rest that is read from its headers. Pure.

    Observe-Customer, Observe-Feature, ...     our own
    headers of other tools                     by a table that the operator configures
    the body's metadata, the header baggage    only where the key allows it, and only what is still unsaid

Two explicit headers that disagree are refused rather than guessed at: the bill would land on the wrong
customer. Every header is looked up once in one table made at the start, however many aliases there are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

import orjson

from accounts.naming import NAME, NAME_EXPECTED, OWN_HEADERS, OWN_PROPERTY
from gateway.errors import BadKey, BadRequest
from gateway.settings.attribution import JSON, PROPERTY, AttributionSettings

PROPERTIES_MAX = 16
JSON_BYTES_MAX = 4_096
BAGGAGE_BYTES_MAX = 8_192
BAGGAGE_PREFIXES = ("observe.", "obs.")

_CREDENTIALS = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key", b"observe-key")
_MEANINGLESS = (
    *(b"host", b"user-agent", b"accept", b"accept-encoding", b"accept-language", b"connection"),
    *(b"content-type", b"openai-beta", b"openai-organization", b"openai-project", b"traceparent"),
    *(b"x-request-id", b"x-forwarded-for", b"x-forwarded-proto", b"x-stainless-lang", b"x-stainless-os"),
    *(b"x-stainless-package-version", b"x-stainless-arch", b"x-stainless-runtime", b"x-stainless-async"),
    *(b"x-stainless-runtime-version", b"x-stainless-timeout", b"x-stainless-read-timeout"),
)
"""Nearly every request has these: found in the table, they need not be compared with prefixes."""
_ATTRIBUTES = {"task": "task_id", "trace": "trace_id"}
_PROPERTY_NAME = re.compile(r"[\x21-\x7e]{1,64}\Z")
_PROPERTY_VALUE = re.compile(r"[\x20-\x7e]{0,256}\Z")
_RETRY_KEY = re.compile(rb"[\x21-\x7e]{1,255}\Z")

Note = Callable[["Headers", str, bytes, bytes], None]
"""(found, what the header tells, its name, its value): notes it, or raises."""


class Headers:
    """What one pass over a request's headers found. Defaults are the class's: most requests say little."""

    credential: str | None = None
    content_length: int | None = None
    content_encoding: bytes | None = None
    include_cost = False
    customer: str | None = None
    feature: str | None = None
    task_id: str | None = None
    workspace: str | None = None
    user: str | None = None
    trace_id: str | None = None
    baggage: bytes | None = None
    idempotency_key: bytes | None = None
    retry_count = 0
    elsewhere: tuple[str, ...] = ()
    """Fields that the headers left open, filled from the body's metadata or from baggage."""

    def __init__(self) -> None:
        self.properties: dict[str, str] = {}


class HeaderTable:
    """What each header means. `required`: attribution that every request must bring, as header names."""

    def __init__(self, settings: AttributionSettings) -> None:
        self.required = required_of(tuple(settings.required_headers))
        self._names = {name.lower(): _attribute(meaning) for name, meaning in settings.names.items()}
        self._table: dict[bytes, tuple[Note, str] | None] = dict.fromkeys(_MEANINGLESS)
        self._table.update(dict.fromkeys(_CREDENTIALS, (_note_credential, "")))
        self._table |= {
            b"content-length": (_note_length, ""),
            b"content-encoding": (_note_encoding, ""),
            b"observe-include-cost": (_note_include_cost, ""),
            b"idempotency-key": (_note_idempotency_key, ""),
            b"x-stainless-retry-count": (_note_retry_count, ""),
            b"baggage": (_note_baggage, ""),
        }
        for header, field in OWN_HEADERS.items():
            self._table[header.encode()] = (_note_field, _attribute(field))
        for header, meaning in settings.aliases.items():
            if not header.endswith("*"):
                note = self._note_json if meaning == JSON else _note_field
                self._table[header.lower().encode()] = (note, _attribute(meaning))
        prefixes = [h.lower()[:-1].encode() for h, meaning in settings.aliases.items() if meaning == PROPERTY]
        self._prefixes = (OWN_PROPERTY.encode(), *sorted(prefixes, key=len, reverse=True))

    def read(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """One pass over the raw headers (names in lower case, as ASGI gives them). Raises CallerFault."""
        found = Headers()
        table, prefixes = self._table, self._prefixes
        for name, value in headers:
            if name in table:
                known = table[name]
                if known is not None:
                    known[0](found, known[1], name, value)
            elif name.startswith(prefixes):
                self._note_prefixed(found, name, value)
        return found

    def read_elsewhere(
        self, found: Headers, sources: Sequence[str], body: Mapping[str, Any], bound: Collection[str]
    ) -> None:
        """Add what the sources that a key allows say of what headers, and what it is bound to, leave open.

        What an older copy of the key had allowed is forgotten first.
        """
        for field in found.elsewhere:
            setattr(found, field, None)
        found.elsewhere = ()
        if "metadata" in sources and isinstance(body.get("metadata"), dict):
            self._fill(found, "metadata", body["metadata"].items(), bound)
        if "baggage" in sources and found.baggage is not None:
            self._fill(found, "baggage", _baggage_pairs(found.baggage), bound)

    def _fill(
        self, found: Headers, source: str, pairs: Iterable[tuple[str, Any]], bound: Collection[str]
    ) -> None:
        said: dict[str, str] = {}
        for name, value in pairs:
            field = self._names.get(name.lower())
            if field is None or field in bound or not isinstance(value, str):
                continue
            if getattr(found, field) is not None:
                continue
            if not NAME.match(value):
                raise _unusable(f"{source}.{name}", NAME_EXPECTED, "invalid_value")
            if said.setdefault(field, value) != value:
                raise _conflict(field, f"{source}.{name}")
        for field, value in said.items():
            setattr(found, field, value)
        found.elsewhere += tuple(said)

    def _note_prefixed(self, found: Headers, name: bytes, value: bytes) -> None:
        prefix = next(each for each in self._prefixes if name.startswith(each))
        own = prefix == self._prefixes[0]
        self._note_named(found, name.decode("latin-1"), name[len(prefix) :], value, own=own)

    def _note_json(self, found: Headers, _: str, name: bytes, value: bytes) -> None:
        header = name.decode("latin-1")
        try:
            document = orjson.loads(value) if len(value) <= JSON_BYTES_MAX else None
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise _unusable(header, f"a JSON object of at most {JSON_BYTES_MAX} bytes")
        for key, item in document.items():
            if isinstance(item, (str, int, float, bool)):
                text = item if isinstance(item, str) else orjson.dumps(item).decode()
                self._note_named(found, f"{header}.{key}", key.encode(), text.encode(), own=False)
            elif item is not None:
                raise _unusable(f"{header}.{key}", "a text, a number or a boolean")

    def _note_named(self, found: Headers, where: str, key: bytes, value: bytes, *, own: bool) -> None:
        """A name and its value: a field where the table of names says so, else a property."""
        name, text = key.decode("utf-8", "replace"), value.decode("utf-8", "replace")
        field = None if own else self._names.get(name.lower())
        if field is not None:
            _say(found, field, where, text)
            return
        if not _PROPERTY_NAME.match(name) or not _PROPERTY_VALUE.match(text):
            raise _unusable(where, "at most 64 and 256 printable ASCII characters for name and value")
        properties = found.properties
        if len(properties) >= PROPERTIES_MAX and name not in properties:
            raise BadRequest(f"At most {PROPERTIES_MAX} properties may be sent.", code="invalid_header")
        if properties.setdefault(name, text) != text:
            raise _conflict(f"property {name}", where)


def note_query_key(found: Headers, query: bytes) -> None:
    """Take the credential that stands in a query as `key`, as Google's clients may send it."""
    for name, value in parse_qsl(query.decode("latin-1")):
        if name == "key":
            _note_credential(found, "", b"key", value.encode())


def missing(found: Headers, required: Sequence[tuple[str, str]]) -> str | None:
    """The first required header whose field or property nobody has told; None when all are there."""
    for field, header in required:
        if field[0] == "." and field[1:] not in found.properties:
            return header
        if field[0] != "." and getattr(found, field) is None:
            return header
    return None


@lru_cache(maxsize=4_096)
def required_of(headers: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Each as (attribute of Headers, or a dot and a property's name; the header's name)."""
    made = []
    for header in headers:
        field = OWN_HEADERS.get(header.lower())
        name = f".{header[len(OWN_PROPERTY) :].lower()}" if field is None else _attribute(field)
        made.append((name, header))
    return tuple(made)


def _attribute(field: str) -> str:
    return _ATTRIBUTES.get(field, field)


# One header each.


def _note_credential(found: Headers, _: str, name: bytes, value: bytes) -> None:
    value = value.strip()
    if name == b"authorization" and value[:7].lower() == b"bearer ":
        value = value[7:].strip()
    secret = value.decode("latin-1")
    if found.credential is not None and found.credential != secret:
        raise BadKey(
            "Two different credentials were sent; send one Tollkeeper key.", code="conflicting_credentials"
        )
    found.credential = secret


def _note_length(found: Headers, _: str, name: bytes, value: bytes) -> None:
    found.content_length = int(value) if value.isdigit() else None


def _note_encoding(found: Headers, _: str, name: bytes, value: bytes) -> None:
    found.content_encoding = value.strip().lower()


def _note_include_cost(found: Headers, _: str, name: bytes, value: bytes) -> None:
    found.include_cost = value.strip().lower() == b"true"


def _note_idempotency_key(found: Headers, _: str, name: bytes, value: bytes) -> None:
    value = value.strip()
    if not _RETRY_KEY.match(value) or found.idempotency_key not in (None, value):
        raise _unusable("idempotency-key", "one key of 1 to 255 visible ASCII characters")
    found.idempotency_key = value


def _note_retry_count(found: Headers, _: str, name: bytes, value: bytes) -> None:
    found.retry_count = int(value) if value.isdigit() and len(value) < 4 else 0


def _note_baggage(found: Headers, _: str, name: bytes, value: bytes) -> None:
    found.baggage = value if found.baggage is None else found.baggage + b"," + value


def _note_field(found: Headers, field: str, name: bytes, value: bytes) -> None:
    _say(found, field, name.decode("latin-1"), value.decode("latin-1"))


def _say(found: Headers, field: str, where: str, text: str) -> None:
    given, before = _identifier(where, text), getattr(found, field)
    if before is None:
        setattr(found, field, given)
    elif before != given:
        raise _conflict(field, where)


def _identifier(where: str, text: str) -> str:
    text = text.strip()
    if not NAME.match(text):
        raise _unusable(where, NAME_EXPECTED)
    return text


def _conflict(field: str, where: str) -> BadRequest:
    return BadRequest(
        f"The {field.removesuffix('_id')} is named twice and not alike: {where} says another one. Send one.",
        param=where,
        code="attribution_conflict",
    )


def _unusable(where: str, expected: str, code: str = "invalid_header") -> BadRequest:
    return BadRequest(f"{where}: expected {expected}.", param=where, code=code)


def _baggage_pairs(baggage: bytes) -> Iterable[tuple[str, str]]:
    """The members of a W3C baggage; what is not one is passed over, as the standard wants it."""
    for member in baggage[:BAGGAGE_BYTES_MAX].decode("latin-1").split(","):
        name, equals, value = member.partition(";")[0].partition("=")
        if equals:
            name = name.strip()
            for prefix in BAGGAGE_PREFIXES:
                name = name.removeprefix(prefix)
            yield name, unquote(value.strip())
