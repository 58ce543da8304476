"""What a limit is on, as people write it: `customer:acme`, `workspace:acme/eu`, `feature:*`, a key's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from accounts.key import KeyRecord
from accounts.keyring import ACCOUNT, KeyNotFound
from budgets.limit import EACH, PART_SEPARATOR, SCOPES

FORMS = (
    "a key's id or name, account, customer:ID, workspace:CUSTOMER/ID, feature:ID, customer:ID/feature:ID, "
    "plan:ID, trace:ID or route:ALIAS; * instead of an ID is each"
)
_WORDS = tuple(scope for scope in SCOPES if scope != "customer_feature")
_PART = re.compile(rf"/(?=(?:{'|'.join(_WORDS)}):)")
_FORM = re.compile(rf"({'|'.join(_WORDS)}):(.*)", re.DOTALL)
_ID = re.compile(r"[\x21-\x7e]{1,128}")

FindKey = Callable[[str], KeyRecord]
"""A key's id, the beginning of one, or its name -> the key."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a limit is on, as limits have it, and as a sentence begins with it. `name`: a key's."""

    scope: str
    scope_id: str
    title: str
    name: str | None = None

    @property
    def text(self) -> str:
        """As it can be written again."""
        return subject_text(self.scope, self.scope_id)


def read_subject(text: str, find_key: FindKey) -> Subject:
    """The subject in a command line's word. ValueError says what is wrong; what `find_key` raises passes."""
    if text == "account":
        return Subject("account", ACCOUNT, "The account")
    parts = [_FORM.fullmatch(part) for part in _PART.split(text)]
    if parts[0] is None:
        return _key(text, find_key)
    words = tuple(part[1] for part in parts if part is not None)
    ids = [part[2] for part in parts if part is not None]
    if words == ("key",):
        return Subject("key", EACH, "key:*") if ids[0] == EACH else _key(ids[0], find_key)
    if words == ("workspace",):
        words, ids = ("customer", "workspace"), _customer_and_workspace(ids[0])
    for word, given in zip(words, ids, strict=True):
        read_id(given, word, text)
    if len(words) == 1 and words[0] != "account":
        return _titled(words[0], ids[0])
    if words == ("customer", "workspace"):
        return _titled("workspace", _joined(ids))
    if words == ("customer", "feature"):
        return _titled("customer_feature", _joined(ids))
    raise ValueError(f"{text!r} is nothing that a limit can be on; write {FORMS}")


def read_id(given: str, word: str, text: str | None = None) -> str:
    """The id of a customer or another (`word`), which stands in `text`. ValueError says what is wrong."""
    if not _ID.fullmatch(given):
        whole = given if text is None else text
        raise ValueError(f"{whole!r}: the {word} must be 1 to 128 visible ASCII characters without spaces")
    return given


def subject_text(scope: str, scope_id: str) -> str:
    """The subject as it can be written on the command line; a key by its id."""
    if scope == "account":
        return scope
    if scope not in ("workspace", "customer_feature"):
        return f"{scope}:{scope_id}"
    customer, _, other = scope_id.partition(PART_SEPARATOR)
    other = other or EACH  # `*` alone is each of both
    if scope == "customer_feature":
        return f"customer:{customer}/feature:{other}"
    if "/" in customer + other:
        return f"customer:{customer}/workspace:{other}"
    return f"workspace:{customer}/{other}"


def covering(scope: str, scope_id: str) -> list[str]:
    """The scope ids of limits that count what this is: its own, and those on each that it is one of."""
    if scope == "account" or EACH in scope_id.split(PART_SEPARATOR):
        return [scope_id]
    first, separator, second = scope_id.partition(PART_SEPARATOR)
    if not separator:
        return [scope_id, EACH]
    return [scope_id, f"{first}{PART_SEPARATOR}{EACH}", f"{EACH}{PART_SEPARATOR}{second}", EACH]


def _key(text: str, find_key: FindKey) -> Subject:
    try:
        record = find_key(text)
    except KeyNotFound as error:
        if ":" not in text:
            raise
        raise ValueError(f"{error}. A limit can be on {FORMS}") from None
    return Subject("key", record.id, f"Key {record.id} ({record.name})", record.name)


def _titled(scope: str, scope_id: str) -> Subject:
    return Subject(scope, scope_id, subject_text(scope, scope_id))


def _customer_and_workspace(text: str) -> list[str]:
    """`acme/eu`, `acme/*`, `*`."""
    parts = [EACH, EACH] if text == EACH else text.split("/")
    if len(parts) == 1:
        raise ValueError(
            f"'workspace:{text}': whose workspace is it? Write workspace:CUSTOMER/{text}, or "
            f"workspace:*/{text} for each customer's"
        )
    if len(parts) > 2:
        raise ValueError(
            f"'workspace:{text}' can be read in several ways; write customer:CUSTOMER/workspace:WORKSPACE"
        )
    return parts


def _joined(ids: list[str]) -> str:
    return EACH if ids == [EACH, EACH] else PART_SEPARATOR.join(ids)
