"""What a child key must not have that its parent has not."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.key import KeyRecord
from accounts.keyterms import PATTERNS_MAX, above, check_child, check_key
from gateway.admission import fits

PARENT = KeyRecord(
    id="key_p",
    account_id="default",
    name="team",
    version=1,
    status="active",
    expires_ms=1_000,
    scopes=("proxy.chat", "models.read"),
    customer=None,
    feature=None,
    assertion="listed",
    customers=("acme", "bolt"),
    features=("chat",),
    default_customer="house",
    default_feature=None,
    limits=(),
    on_ledger_down="closed",
    display="abcd",
    routes=("gpt-4*", "fast"),
    models=(),
    sources=("metadata",),
    required=("Observe-Task-Id",),
)
CHILD = replace(PARENT, id="key_p.c", name="app", expires_ms=900, customers=("acme",), default_customer=None)


def test_a_child_may_have_what_its_parent_has_and_less() -> None:
    assert above(PARENT, replace(PARENT, id="key_p.c")) == []
    assert above(PARENT, CHILD) == []
    assert above(PARENT, replace(CHILD, customer="acme", customers=(), assertion="none")) == []
    assert above(PARENT, replace(CHILD, routes=("gpt-4o-mini", "gpt-4.1*"), sources=())) == []
    assert above(replace(PARENT, scopes=("admin",)), replace(CHILD, scopes=("keys.write",))) == []
    check_child(PARENT, CHILD)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"scopes": ("proxy.chat", "usage.read")}, "scope usage.read"),
        ({"scopes": ("admin",)}, "scope admin"),
        ({"expires_ms": 1_001}, "it would expire later"),
        ({"expires_ms": None}, "it would expire later"),
        ({"customers": ("acme", "cola")}, "customer cola"),
        ({"customer": "cola", "customers": ()}, "customer cola"),
        ({"default_customer": "cola"}, "customer cola"),
        ({"features": ("chat", "search")}, "feature search"),
        ({"assertion": "any", "customers": (), "features": ()}, "any customer"),
        ({"routes": ()}, "all routes"),
        ({"routes": ("gpt*",)}, "routes gpt*"),
        ({"routes": ("slow",)}, "routes slow"),
        ({"sources": ("metadata", "baggage")}, "source baggage"),
        ({"required": ()}, "without the required header observe-task-id"),
        ({"on_ledger_down": "open"}, "open while the ledger is away"),
        ({"on_ledger_down": "allowance", "allowance_nano": 5}, "allowance while the ledger is away"),
    ],
)
def test_each_thing_that_is_above_the_parent_is_named(changes: dict[str, Any], fault: str) -> None:
    child = replace(CHILD, **changes)
    assert fault in above(PARENT, child)
    with pytest.raises(ValueError, match="would be above its parent key_p"):
        check_child(PARENT, child)


def test_the_child_of_a_bound_key_is_bound_alike() -> None:
    bound = replace(PARENT, customer="acme", customers=(), features=(), assertion="none")
    assert above(bound, replace(bound, id="key_p.c")) == []
    assert above(bound, replace(bound, id="key_p.c", customer=None)) == ["not bound to the customer acme"]
    assert above(bound, replace(bound, id="key_p.c", customer="bolt")) == ["not bound to the customer acme"]


PATTERNS = st.lists(st.text("ab", max_size=3).map(lambda t: t + "*") | st.text("ab", min_size=1, max_size=3))


@given(PATTERNS, PATTERNS, st.text("ab", min_size=1, max_size=5))
def test_no_name_fits_a_child_that_does_not_fit_its_parent(
    allowed: list[str], wanted: list[str], name: str
) -> None:
    parent, child = replace(PARENT, routes=tuple(allowed)), replace(CHILD, routes=tuple(wanted))
    may = not allowed or any(fnmatchcase(name, each) for each in allowed)
    assert (not parent.routes or fits(name, parent.routes)) == may
    if above(parent, child) == [] and (not wanted or fits(name, child.routes)):
        assert may


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scopes": ("chat",)}, "unknown scopes: chat"),
        ({"sources": ("cookies",)}, "source 'cookies' is unknown; known: metadata, baggage"),
        ({"required": ("X-Team",)}, "'X-Team' cannot be required"),
        ({"routes": ("a*b",)}, r"routes: 'a\*b' is no name"),
        ({"models": ("",)}, "models: '' is no name"),
        ({"models": ("m",) * (PATTERNS_MAX + 1)}, "at most 64"),
        ({"id": "key_a.b.c.d.e"}, "at most 4 deep"),
    ],
)
def test_what_no_key_can_be_is_told(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_key(replace(PARENT, **changes))
