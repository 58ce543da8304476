"""Lists of limits as documents, and which limit stands in which."""

from __future__ import annotations

import orjson
import pytest

from accounts.key import KeyLimit
from accounts.terms import AccountTerms, CustomerTerms, holder_of
from budgets import limit

LIMIT = KeyLimit(
    *("lim_1", "workspace", "acme\x1feu", "month", "tokens", "soft", 2**53 - 1, 3),
    time_zone="Asia/Tokyo",
    anchor=31,
    thresholds=(50, 80, 100),
    created_ms=1_795_261_160_881,
)


def test_lists_survive_their_documents() -> None:
    account = AccountTerms(7, (LIMIT,), has_customer_terms=True)
    assert AccountTerms.from_document(account.to_document()) == account
    customer = CustomerTerms(2, (LIMIT, LIMIT))
    assert CustomerTerms.from_document(customer.to_document()) == customer
    assert CustomerTerms.from_document(CustomerTerms(3, ()).to_document()).limits == ()


def test_fields_of_a_later_version_are_ignored_and_torn_documents_are_refused() -> None:
    for terms in (AccountTerms(7, (LIMIT,), has_customer_terms=False), CustomerTerms(2, (LIMIT,))):
        document = orjson.loads(terms.to_document())
        document["limits"][0]["burst"] = 5
        read = type(terms).from_document
        assert read(orjson.dumps({**document, "plan": "gold"})) == terms
        del document["limits"][0]["thresholds"]
        for torn in (orjson.dumps(document), b"{}", b"[]", b'"x"', b"nothing"):
            with pytest.raises(ValueError):
                read(torn)


@pytest.mark.parametrize(
    ("scope", "scope_id", "holder"),
    [
        ("key", "key_1", ("key", "key_1")),
        ("key", "*", ("account", "default")),
        ("account", "default", ("account", "default")),
        ("customer", "acme", ("customer", "acme")),
        ("customer", "*", ("account", "default")),
        ("workspace", "acme\x1feu", ("customer", "acme")),
        ("workspace", "acme\x1f*", ("customer", "acme")),
        ("workspace", "*\x1feu", ("account", "default")),
        ("workspace", "*", ("account", "default")),
        ("customer_feature", "acme\x1fchat", ("customer", "acme")),
        ("customer_feature", "*\x1fchat", ("account", "default")),
        ("feature", "chat", ("account", "default")),
        ("plan", "pro", ("account", "default")),
        ("trace", "t1", ("account", "default")),
        ("route", "*", ("account", "default")),
    ],
)
def test_a_limit_stands_in_the_narrowest_list_that_its_requests_are_sure_to_need(
    scope: str, scope_id: str, holder: tuple[str, str]
) -> None:
    assert holder_of("default", scope, scope_id) == holder


def test_both_sides_of_the_floor_write_scope_ids_alike() -> None:
    from accounts import terms

    assert (terms.EACH, terms.PART_SEPARATOR) == (limit.EACH, limit.PART_SEPARATOR)
