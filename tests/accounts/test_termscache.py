"""A worker's copy of lists of limits: what is asked for, what is kept, and how much."""

from __future__ import annotations

import pytest

from accounts.terms import AccountTerms, CustomerTerms
from accounts.termscache import TermsCache


class Published:
    """Published lists, and what was asked for."""

    def __init__(self) -> None:
        self.accounts: dict[str, AccountTerms] = {}
        self.customers: dict[tuple[str, str], CustomerTerms] = {}
        self.asked: list[tuple[str, ...]] = []
        self.cache = TermsCache(self.fetch_account, self.fetch_customer, entries_max=3)

    async def fetch_account(self, account_id: str) -> bytes | None:
        self.asked.append((account_id,))
        found = self.accounts.get(account_id)
        return found.to_document() if found else None

    async def fetch_customer(self, account_id: str, customer: str) -> bytes | None:
        self.asked.append((account_id, customer))
        found = self.customers.get((account_id, customer))
        return found.to_document() if found else None


@pytest.fixture
def published() -> Published:
    return Published()


async def test_lists_are_asked_for_once_until_they_are_invalidated(published: Published) -> None:
    published.accounts["a"] = AccountTerms(1, (), has_customer_terms=True)
    published.customers["a", "acme"] = CustomerTerms(1, ())
    for _ in range(3):
        assert (await published.cache.find_account("a")).version == 1
        assert await published.cache.find_customer("a", "acme") == CustomerTerms(1, ())
    assert published.asked == [("a",), ("a", "acme")]
    published.accounts["a"] = AccountTerms(2, (), has_customer_terms=True)
    published.customers["a", "acme"] = CustomerTerms(5, ())
    published.cache.invalidate("a", "acme")
    assert (await published.cache.find_account("a")).version == 2
    assert await published.cache.find_customer("a", "acme") == CustomerTerms(5, ())


async def test_a_customer_without_a_list_is_remembered_until_it_is_invalidated(published: Published) -> None:
    for _ in range(3):
        assert await published.cache.find_customer("a", "bolt") is None
    assert published.asked == [("a", "bolt")]
    published.customers["a", "bolt"] = CustomerTerms(1, ())
    published.cache.invalidate("a")
    assert await published.cache.find_customer("a", "bolt") is None
    published.cache.invalidate("a", "bolt")
    assert await published.cache.find_customer("a", "bolt") == CustomerTerms(1, ())


async def test_an_account_without_a_list_is_asked_for_again(published: Published) -> None:
    for _ in range(2):
        assert await published.cache.find_account("a") == AccountTerms(0, (), has_customer_terms=False)
    assert published.asked == [("a",), ("a",)]


async def test_unknown_customers_cannot_push_out_lists_and_nothing_grows_without_bound(
    published: Published,
) -> None:
    for number in range(4):
        published.customers["a", f"c{number}"] = CustomerTerms(number + 1, ())
    for number in range(3):
        await published.cache.find_customer("a", f"c{number}")
    await published.cache.find_customer("a", "c0")  # used again: the one used longest ago is c1
    for number in range(50):
        assert await published.cache.find_customer("a", f"invented{number}") is None
    await published.cache.find_customer("a", "c3")
    published.asked.clear()
    for name in ("c0", "c2", "c3", "invented49", "invented47"):
        await published.cache.find_customer("a", name)
    assert published.asked == []
    await published.cache.find_customer("a", "invented46")
    await published.cache.find_customer("a", "c1")
    assert published.asked == [("a", "invented46"), ("a", "c1")]


async def test_the_same_customer_of_two_accounts_is_two(published: Published) -> None:
    published.customers["a", "acme"] = CustomerTerms(1, ())
    assert await published.cache.find_customer("b", "acme") is None
    assert await published.cache.find_customer("a", "acme") == CustomerTerms(1, ())


async def test_faults_of_the_store_reach_the_caller_and_are_not_remembered(published: Published) -> None:
    async def broken(*names: str) -> bytes | None:
        published.asked.append(names)
        raise ConnectionError(names)

    cache = TermsCache(broken, broken)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await cache.find_account("a")
        with pytest.raises(ConnectionError):
            await cache.find_customer("a", "acme")
    assert len(published.asked) == 4
