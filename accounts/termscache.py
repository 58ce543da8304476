"""A worker's copy of the lists of limits: the accounts' and the customers', bounded.

A list found is reused without asking, however old it is, because every use goes on to the ledger's `open`,
which answers STALE when the copy is old; the worker then drops it (`invalidate`) and asks again. That a
customer has no list of its own is remembered too, apart, so that unknown customers cannot push out lists.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from accounts.terms import AccountTerms, CustomerTerms

FetchAccount = Callable[[str], Awaitable[bytes | None]]
"""An account's id -> its published list, or None when there is none."""
FetchCustomer = Callable[[str, str], Awaitable[bytes | None]]
"""An account's id and a customer -> the customer's published list, or None when there is none."""

ENTRIES_MAX = 10_000
"""Of each: lists of accounts, lists of customers, customers without one."""
K = TypeVar("K")
V = TypeVar("V")


class TermsCache:
    """Lists by account and customer. What the fetching functions raise goes to the caller."""

    def __init__(
        self,
        fetch_account: FetchAccount,
        fetch_customer: FetchCustomer,
        *,
        entries_max: int = ENTRIES_MAX,
    ) -> None:
        self._fetch_account = fetch_account
        self._fetch_customer = fetch_customer
        self._entries_max = entries_max
        self._accounts: OrderedDict[str, AccountTerms] = OrderedDict()
        self._customers: OrderedDict[tuple[str, str], CustomerTerms] = OrderedDict()
        self._absent: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def find_account(self, account_id: str) -> AccountTerms:
        """The account's list, of whatever age; an empty one of version 0 where none is published."""
        terms = self._accounts.get(account_id)
        if terms is not None:
            self._accounts.move_to_end(account_id)
            return terms
        document = await self._fetch_account(account_id)
        if document is None:
            return AccountTerms(0, (), False)  # not kept: a ledger that lost it is about to be filled again
        terms = AccountTerms.from_document(document)
        self._keep(self._accounts, account_id, terms)
        return terms

    async def find_customer(self, account_id: str, customer: str) -> CustomerTerms | None:
        """The customer's own list, of whatever age; None when it has none."""
        name = (account_id, customer)
        terms = self._customers.get(name)
        if terms is not None:
            self._customers.move_to_end(name)
            return terms
        if name in self._absent:
            self._absent.move_to_end(name)
            return None
        document = await self._fetch_customer(account_id, customer)
        if document is None:
            self._keep(self._absent, name, None)
            return None
        terms = CustomerTerms.from_document(document)
        self._keep(self._customers, name, terms)
        return terms

    def invalidate(self, account_id: str, customer: str | None = None) -> None:
        """Forget the account's list, and what is known of this customer's."""
        self._accounts.pop(account_id, None)
        if customer is not None:
            self._customers.pop((account_id, customer), None)
            self._absent.pop((account_id, customer), None)

    def _keep(self, entries: OrderedDict[K, V], name: K, entry: V) -> None:
        entries[name] = entry
        entries.move_to_end(name)
        if len(entries) > self._entries_max:
            entries.popitem(last=False)
