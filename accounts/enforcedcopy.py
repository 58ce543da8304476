"""The enforced copy: what the record in SQL is copied to, where requests are decided. No I/O of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from accounts.key import KeyLimit, KeyRecord, document_name


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """A key as it is published: what is checked of it, and the document that callers read."""

    key_id: str
    status: str
    version: int
    expires_ms: int | None
    document_name: str
    document: bytes

    @classmethod
    def of(cls, record: KeyRecord, key_digest: str) -> PublishedKey:
        """The key as its record has it; the digest of its secret names the document."""
        return cls(
            key_id=record.id,
            status=record.status,
            version=record.version,
            expires_ms=record.expires_ms,
            document_name=document_name(key_digest),
            document=record.to_document(),
        )


class EnforcedCopy(Protocol):
    """Where requests are decided: what `open` checks of keys, limits, and the documents that callers read.

    Every call holds for the next request when it returns. Its errors go to the caller.
    """

    def now_ms(self, account_id: str) -> int:
        """The clock by which the account's requests are decided."""

    def put_key(self, account_id: str, key: PublishedKey) -> None:
        """Publish a key and its document."""

    def put_keys(self, account_id: str, keys: Sequence[PublishedKey]) -> None:
        """Publish many keys at once."""

    def put_former(self, documents: Sequence[tuple[str, bytes, int]]) -> None:
        """Publish documents under other names (name, document, the moment (ms) at which it goes)."""

    def drop_documents(self, names: Sequence[str]) -> None:
        """Forget documents of keys: who has the secret then has none."""

    def put_limits(self, account_id: str, limits: Sequence[KeyLimit]) -> None:
        """Put the values of these limits in force."""

    def put_plans(self, account_id: str, documents: Mapping[str, bytes], values: Mapping[str, int]) -> None:
        """Publish versions of plans by their labels, after the values that they name."""

    def put_values(self, account_id: str, values: Mapping[str, int]) -> None:
        """Put values in force that plans and customers on them name."""

    def drop_limit(self, account_id: str, limit_id: str) -> None:
        """Forget the value of a limit that no document names any more."""

    def keep_limits(self, kept: Mapping[str, Iterable[str]]) -> int:
        """Forget every value but those of these names of each account; returns how many were forgotten."""

    def put_account(self, account_id: str, version: int, document: bytes) -> None:
        """Publish the account's document and its version in one step."""

    def put_customers(self, account_id: str, lists: Sequence[tuple[str, int, bytes]]) -> None:
        """Publish documents of customers (customer, version, document), each with its version in one step."""
