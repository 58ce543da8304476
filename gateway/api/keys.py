"""Keys: who may do what, and how they are made, rotated and revoked.

GET    /api/sdk-keys               a page of the keys that the asking one may manage
POST   /api/sdk-keys               make one
GET    /api/sdk-keys/me            the asking key: its scopes and its budget
GET    /api/sdk-keys/{key}         one
POST   /api/sdk-keys/{key}/reset   give it a new secret
DELETE /api/sdk-keys/{key}         revoke it, and its children

A key manages itself and its children; one with the scope `admin` manages all of its account. What a key makes
is its child, or at least not above it.
"""

from __future__ import annotations

from accounts.key import KeyRecord
from accounts.pages import RecordedKey, find_key, key_named, key_page, managers_beside
from accounts.publishing import wall_ms
from accounts.scope import ADMIN, KEYS_WRITE
from budgets.usage import read_usage
from budgets.window import FOREVER_MS
from gateway.api.amounts import MONEY
from gateway.api.endpoint import ANY, Call, Endpoint
from gateway.api.fields import Told
from gateway.api.keyfigures import last_used
from gateway.api.keymaking import check_independent, key_limits, key_options
from gateway.api.keymodels import KeysAsked, NewKey, OverlapAsked
from gateway.api.keyview import KeyBudget, KeyMade, KeyTold, key_budget, key_made, key_told
from gateway.api.parts import ApiParts
from gateway.api.refusing import page_of, place_of, refusals
from gateway.errors import BadRequest, NotFound
from metering.ids import is_below

TAG = "keys"


class KeysTold(Told):
    """A page of keys, the oldest first."""

    keys: list[KeyTold]
    next_cursor: str | None


class KeyRevoked(Told):
    """It is of no use any more, and neither are its children."""

    success: bool
    id: str


def list_keys(call: Call) -> KeysTold:
    """A page of keys."""
    asked: KeysAsked = call.query
    within = None if ADMIN in call.key.scopes else call.key.id
    listed = ("keys", call.account_id, within, asked.status)
    with call.parts.engine.connect() as connection:
        found = key_page(
            connection,
            call.account_id,
            limit=asked.limit + 1,
            after=place_of(listed, asked.cursor),
            within=within,
            status=asked.status,
        )
        rows, following = page_of(listed, found, asked.limit, lambda each: (each.created_ms, each.record.id))
        used = last_used(connection, call.account_id, [each.record.id for each in rows])
    return KeysTold(
        keys=[
            key_told(each, used.get(each.record.id), call.parts.keyring.former_secrets(each.record.id))
            for each in rows
        ],
        next_cursor=following,
    )


def show_key(call: Call) -> KeyTold:
    """One key."""
    found = _managed(call)
    with call.parts.engine.connect() as connection:
        used = last_used(connection, call.account_id, [found.record.id])
    return key_told(found, used.get(found.record.id), call.parts.keyring.former_secrets(found.record.id))


def show_own_key(call: Call) -> KeyBudget:
    """The key that asks."""
    limits = [limit for limit in call.key.limits if limit.kind == MONEY]
    usages = read_usage(call.parts.redis, call.account_id, limits)
    ends = [None if each.window.end_ms >= FOREVER_MS else each.window.end_ms for each in usages]
    return key_budget(call.key, list(zip(usages, ends, strict=True)))


def make_key(call: Call) -> KeyMade:
    """A new key; its secret is told here and never again."""
    asked: NewKey = call.body
    parent = None if asked.independent else call.key.id
    with refusals():
        options = key_options(asked, call.key)
        limits = key_limits(asked)
        if asked.independent:
            check_independent(call.key, options)
        secret, record = call.parts.keyring.create(
            free_name(call.parts, call.account_id, asked.name),
            account_id=call.account_id,
            parent=parent,
            limits=limits,
            **options,
        )
    return made(call.parts, record, secret)


def reset_key(call: Call) -> KeyMade:
    """A new secret for a key that stays what it is; its former one works for a while beside it."""
    asked: OverlapAsked = call.query
    found = _managed(call)
    with refusals():
        secret, record = call.parts.keyring.rotate(found.record.id, overlap_ms=asked.overlap_seconds * 1_000)
    return made(call.parts, record, secret)


def revoke_key(call: Call) -> KeyRevoked:
    """End a key and its children for good."""
    found = _managed(call)
    key_id = found.record.id
    with call.parts.engine.connect() as connection:
        manages, others = managers_beside(connection, call.account_id, key_id, wall_ms())
    if manages and not others:
        raise BadRequest(
            "This is the only key that can manage keys: make another one with keys.write or admin first.",
            code="only_manager_key",
        )
    with refusals():
        call.parts.keyring.revoke(key_id)
    return KeyRevoked(success=True, id=key_id)


def made(parts: ApiParts, record: KeyRecord, secret: str) -> KeyMade:
    """The answer with a new secret."""
    with parts.engine.connect() as connection:
        found = find_key(connection, record.account_id, record.id)
    assert found is not None, "it was recorded a moment ago, and keys stay"
    return key_made(found, secret, parts.keyring.former_secrets(record.id))


def free_name(parts: ApiParts, account_id: str, name: str) -> str:
    """The name, or with the first number behind it by which no active key is called."""
    with parts.engine.connect() as connection:
        found, number = name, 1
        while key_named(connection, account_id, found):
            number += 1
            found = f"{name}-{number}"
    return found


def _managed(call: Call) -> RecordedKey:
    """The key of the path, where the asking one may manage it; otherwise there is none."""
    key_id, own = call.path["key"], call.key
    with call.parts.engine.connect() as connection:
        found = find_key(connection, call.account_id, key_id)
    if found is None or not (ADMIN in own.scopes or key_id == own.id or is_below(key_id, own.id)):
        raise NotFound("No such key.")
    return found


_MANAGED = "Keys that the asking one may not manage are not found: a key manages itself and its children, one"
KEYS = (
    Endpoint(
        method="GET",
        path="/api/sdk-keys",
        scope=KEYS_WRITE,
        summary="Keys, never their secrets",
        description=f"{_MANAGED} with `admin` all of its account.",
        tag=TAG,
        handler=list_keys,
        query=KeysAsked,
        answer=KeysTold,
    ),
    Endpoint(
        method="POST",
        path="/api/sdk-keys",
        scope=KEYS_WRITE,
        summary="Make a key; its secret is told only here",
        description="A name that is taken gets a number behind it.",
        tag=TAG,
        handler=make_key,
        body=NewKey,
        answer=KeyMade,
        status=201,
        writes=True,
    ),
    Endpoint(
        method="GET",
        path="/api/sdk-keys/me",
        scope=ANY,
        summary="The asking key: its scopes, its budget and its end",
        tag=TAG,
        handler=show_own_key,
        answer=KeyBudget,
        bound="own",
    ),
    Endpoint(
        method="GET",
        path="/api/sdk-keys/{key}",
        scope=KEYS_WRITE,
        summary="One key, never its secret",
        tag=TAG,
        handler=show_key,
        answer=KeyTold,
    ),
    Endpoint(
        method="POST",
        path="/api/sdk-keys/{key}/reset",
        scope=KEYS_WRITE,
        summary="Give a key a new secret, which is told only here",
        description="The key stays the same: its id, its limits, what it has spent.",
        tag=TAG,
        handler=reset_key,
        query=OverlapAsked,
        answer=KeyMade,
        writes=True,
    ),
    Endpoint(
        method="DELETE",
        path="/api/sdk-keys/{key}",
        scope=KEYS_WRITE,
        summary="Revoke a key and its children",
        description="Holds for the next request; what runs is cut. The only key that can manage keys stays.",
        tag=TAG,
        handler=revoke_key,
        answer=KeyRevoked,
        writes=True,
    ),
)
