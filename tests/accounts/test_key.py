"""Secrets and records of keys."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.key import ALPHABET, KeyLimit, KeyRecord, digest, document_name, looks_valid, mint

RECORD = KeyRecord(
    id="key_1",
    account_id="default",
    name="app",
    version=3,
    status="active",
    expires_ms=2_000,
    scopes=("proxy.chat",),
    customer=None,
    feature="search",
    assertion="listed",
    customers=("a", "b"),
    features=(),
    default_customer="a",
    default_feature=None,
    limits=(
        KeyLimit(
            *("lim_1", "key", "key_1", "month", "money", "hard", 2**53 - 1, 2),
            time_zone="Europe/Berlin",
            anchor=15,
            thresholds=(50, 80),
            created_ms=1_795_261_160_881,
        ),
    ),
    on_ledger_down="closed",
    display="wxyz",
)


def test_a_minted_secret_has_the_published_form_and_is_kept_as_its_digest_only() -> None:
    secret, key_digest = mint()
    assert len(secret) == 53
    assert secret.startswith("obs_")
    assert set(secret[4:]) <= set(ALPHABET)
    assert key_digest == sha256(secret.encode()).hexdigest() == digest(secret)
    assert looks_valid(secret)
    assert document_name(key_digest) == f"t2:key:{key_digest}"


def test_secrets_do_not_repeat_and_use_their_whole_space() -> None:
    secrets = [mint()[0] for _ in range(2_000)]
    assert len(set(secrets)) == 2_000
    assert {secret[10] for secret in secrets} == set(ALPHABET)


def test_the_checksum_of_existing_keys_never_changes() -> None:
    body = "0" * 43
    assert looks_valid(f"obs_{body}19DNTg")


@given(st.integers(4, 52), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(place: int, letter: str) -> None:
    secret = f"obs_{'0' * 43}19DNTg"
    mistyped = secret[:place] + letter + secret[place + 1 :]
    assert looks_valid(mistyped) == (mistyped == secret)


@given(st.text())
def test_other_strings_are_no_keys(text: str) -> None:
    assert not looks_valid(text)
    assert not looks_valid("obs_" + text)


@pytest.mark.parametrize(
    "text", ["", "obs_", "Bearer ' OR '1'='1", "sk-1234", "obs_" + "é" * 49, "OBS_" + "0" * 43 + "19DNTg"]
)
def test_well_known_non_keys_are_refused(text: str) -> None:
    assert not looks_valid(text)


def test_a_record_survives_its_document() -> None:
    assert KeyRecord.from_document(RECORD.to_document()) == RECORD


def test_fields_of_a_later_version_are_ignored_and_missing_ones_are_named() -> None:
    document = orjson.loads(RECORD.to_document())
    document["limits"][0]["burst"] = 5
    assert KeyRecord.from_document({**document, "plan": "gold"}) == RECORD
    del document["limits"][0]["anchor"]
    with pytest.raises(ValueError, match="anchor"):
        KeyRecord.from_document(orjson.dumps(document))
    del document["assertion"]
    with pytest.raises(ValueError, match="assertion"):
        KeyRecord.from_document(orjson.dumps(document))
    for torn in (b"{}", b"[]", b"nothing"):
        with pytest.raises(ValueError):
            KeyRecord.from_document(torn)


def test_a_key_is_usable_until_it_expires() -> None:
    assert RECORD.usable(1_999)
    assert not RECORD.usable(2_000)


def test_a_key_without_a_choice_of_its_own_is_closed_wherever_a_limit_applies() -> None:
    free = replace(RECORD, limits=(), on_ledger_down="open")
    assert free.when_ledger_down(limited=False) == "open"
    assert free.when_ledger_down(limited=True) == "closed"
    for choice in ("open", "closed", "allowance"):
        chosen = replace(free, on_ledger_down=choice, ledger_down_chosen=True)
        assert {chosen.when_ledger_down(limited=limited) for limited in (True, False)} == {choice}
