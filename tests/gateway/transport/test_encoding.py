"""Decoding of bodies that were compressed unasked."""

from __future__ import annotations

import gzip
import itertools
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.transport.encoding import STEP_BYTES, BodyDecoder, decoder_for
from gateway.transport.errors import FramingFault


def drained(decoder: BodyDecoder) -> bytes:
    out = b""
    while piece := decoder.take():
        assert len(piece) <= STEP_BYTES
        out += piece
    return out


FORMS = ["gzip", "two", "zlib", "raw"]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=2000), st.lists(st.integers(0, 3000), max_size=8), st.sampled_from(FORMS))
def test_any_split_decodes_to_the_same_bytes(body: bytes, cuts: list[int], form: str) -> None:
    body = body * 100
    packed = {
        "gzip": gzip.compress(body),
        "two": gzip.compress(body[:50]) + gzip.compress(body[50:]),
        "zlib": zlib.compress(body),
        "raw": zlib.compress(body)[2:-4],
    }[form]
    decoder = decoder_for(b"gzip" if form in ("gzip", "two") else b"deflate")
    assert decoder is not None
    edges = [0, *sorted(cuts), len(packed)]
    out = b""
    for start, end in itertools.pairwise(edges):
        if packed[start:end]:
            decoder.feed(packed[start:end])
            out += drained(decoder)
    assert out == body
    assert decoder.finished


def test_a_stream_that_is_cut_is_not_finished() -> None:
    decoder = decoder_for(b"gzip")
    assert decoder is not None
    assert decoder.finished  # nothing came, nothing is missing
    decoder.feed(gzip.compress(b"abc")[:-1])
    assert drained(decoder) == b"abc"
    assert not decoder.finished


def test_what_follows_a_deflate_stream_is_a_fault() -> None:
    decoder = decoder_for(b"deflate")
    assert decoder is not None
    decoder.feed(zlib.compress(b"abc") + b"more")
    assert decoder.take() == b"abc"
    with pytest.raises(FramingFault):
        decoder.take()


@pytest.mark.parametrize("name", [b"", b"identity", b" Identity "])
def test_identity_needs_no_decoder(name: bytes) -> None:
    assert decoder_for(name) is None


@pytest.mark.parametrize("name", [b"br", b"zstd", b"gzip, gzip", b"nonsense"])
def test_a_coding_we_cannot_undo_is_a_fault(name: bytes) -> None:
    with pytest.raises(FramingFault) as caught:
        decoder_for(name)
    assert caught.value.reason == "bad_encoding"
