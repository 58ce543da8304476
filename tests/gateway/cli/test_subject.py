"""What a limit is on, read from a command line and written again."""

from __future__ import annotations

import pytest

from accounts.key import KeyRecord
from accounts.keyring import KeyNotFound
from gateway.cli.subject import covering, read_subject, subject_text
from tests.accounts.test_key import RECORD


def find_key(reference: str) -> KeyRecord:
    if reference in ("key_1", "app", "team:app"):
        return RECORD
    raise KeyNotFound(f"no key has the id or name {reference!r}; `tollkeeper keys list` shows them")


@pytest.mark.parametrize(
    ("text", "scope", "scope_id", "written"),
    [
        ("app", "key", "key_1", "key:key_1"),
        ("team:app", "key", "key_1", "key:key_1"),
        ("key:app", "key", "key_1", "key:key_1"),
        ("key:key_1", "key", "key_1", "key:key_1"),
        ("key:*", "key", "*", "key:*"),
        ("account", "account", "default", "account"),
        ("customer:acme", "customer", "acme", "customer:acme"),
        ("customer:*", "customer", "*", "customer:*"),
        ("customer:a/b:c", "customer", "a/b:c", "customer:a/b:c"),
        ("workspace:acme/eu", "workspace", "acme\x1feu", "workspace:acme/eu"),
        ("workspace:acme/*", "workspace", "acme\x1f*", "workspace:acme/*"),
        ("workspace:*/eu", "workspace", "*\x1feu", "workspace:*/eu"),
        ("workspace:*", "workspace", "*", "workspace:*/*"),
        ("workspace:*/*", "workspace", "*", "workspace:*/*"),
        ("customer:acme/workspace:eu", "workspace", "acme\x1feu", "workspace:acme/eu"),
        ("customer:a/b/workspace:c/d", "workspace", "a/b\x1fc/d", "customer:a/b/workspace:c/d"),
        ("feature:chat", "feature", "chat", "feature:chat"),
        ("feature:*", "feature", "*", "feature:*"),
        ("customer:acme/feature:chat", "customer_feature", "acme\x1fchat", "customer:acme/feature:chat"),
        ("customer:acme/feature:*", "customer_feature", "acme\x1f*", "customer:acme/feature:*"),
        ("customer:*/feature:chat", "customer_feature", "*\x1fchat", "customer:*/feature:chat"),
        ("customer:*/feature:*", "customer_feature", "*", "customer:*/feature:*"),
        ("plan:pro", "plan", "pro", "plan:pro"),
        ("trace:*", "trace", "*", "trace:*"),
        ("route:openai/gpt-4o", "route", "openai/gpt-4o", "route:openai/gpt-4o"),
    ],
)
def test_every_form_is_read_and_can_be_written_again(
    text: str, scope: str, scope_id: str, written: str
) -> None:
    subject = read_subject(text, find_key)
    assert (subject.scope, subject.scope_id) == (scope, scope_id)
    assert subject.text == written == subject_text(scope, scope_id)
    again = read_subject(written, find_key)
    assert (again.scope, again.scope_id) == (scope, scope_id)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("customer:", "'customer:': the customer must be 1 to 128 visible ASCII characters without spaces"),
        ("customer:a b", "the customer must be 1 to 128 visible ASCII"),
        ("customer:" + "x" * 129, "1 to 128"),
        ("customer:é", "visible ASCII"),
        ("customer:a\x1fb", "visible ASCII"),
        ("customer:acme/feature:", "the feature must be"),
        ("workspace:/eu", "the customer must be"),
        ("workspace:eu", "Write workspace:CUSTOMER/eu, or workspace:\\*/eu"),
        ("workspace:a/b/c", "write customer:CUSTOMER/workspace:WORKSPACE"),
        ("feature:chat/customer:acme", "nothing that a limit can be on; write a key's id or name, account"),
        ("customer:a/feature:b/feature:c", "nothing that a limit can be on"),
        ("account:default", "nothing that a limit can be on"),
        ("customer:a/key:b", "nothing that a limit can be on"),
        ("team:eu", "no key has the id or name 'team:eu'.*A limit can be on a key's id or name, account"),
    ],
)
def test_what_cannot_be_read_is_told_with_what_would_be_right(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_subject(text, find_key)


def test_an_unknown_key_is_told_as_everywhere() -> None:
    with pytest.raises(KeyNotFound):
        read_subject("nobody", find_key)


def test_what_counts_something_is_its_own_limits_and_those_on_each() -> None:
    assert covering("customer", "acme") == ["acme", "*"]
    assert covering("customer", "*") == ["*"]
    assert covering("account", "default") == ["default"]
    assert covering("workspace", "acme\x1feu") == ["acme\x1feu", "acme\x1f*", "*\x1feu", "*"]
    assert covering("workspace", "acme\x1f*") == ["acme\x1f*"]
