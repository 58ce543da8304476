import pytest

from accounts.scope import DEFAULT_SCOPES, SCOPES, allows, check_scopes


def test_the_list_is_closed_and_has_no_scope_twice() -> None:
    assert len(SCOPES) == len(set(SCOPES)) == 16
    check_scopes(SCOPES)
    check_scopes(DEFAULT_SCOPES)


def test_unknown_scopes_are_all_named_at_once_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"unknown scopes: keys\.read, proxy\.embeddings; known: proxy\.chat"
    ):
        check_scopes(["proxy.embeddings", "events.read", "keys.read"])


def test_a_scope_is_what_it_says_and_admin_is_all_of_them() -> None:
    for scope in SCOPES:
        assert allows((scope,), scope)
        assert allows(("admin",), scope)
    assert not allows(("events.write",), "keys.write")
    assert not allows((), "proxy.chat")
