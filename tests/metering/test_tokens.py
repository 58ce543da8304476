from __future__ import annotations

import hashlib
import lzma
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import pytest

from metering import tokens


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # Published examples of OpenAI's cookbook ("How to count tokens with tiktoken").
        ("gpt-4", 6),
        ("gpt-4o", 6),
    ],
)
def test_a_published_example_counts_as_published(model: str, expected: int) -> None:
    assert tokens.count("tiktoken is great!", model) == expected


def test_families_use_the_encoding_that_was_published_for_them() -> None:
    text = "お誕生日おめでとう"
    # The cookbook's figures: 9 tokens in cl100k_base, 8 in o200k_base.
    assert {tokens.count(text, model) for model in ("gpt-4", "gpt-3.5-turbo-0125", "gpt-35-turbo")} == {9}
    assert {tokens.count(text, model) for model in ("gpt-4o-mini", "gpt-4.1", "o3-mini", "gpt-5.2")} == {8}


@pytest.mark.parametrize(
    ("provider", "model", "exact"),
    [
        ("openai", "gpt-4o-mini-2024-07-18", True),
        ("azure", "gpt-4o", True),
        ("openai", "ft:gpt-4o-mini:acme::abc", True),
        ("openai", "text-embedding-3-small", True),
        ("openai", "gpt-6-sol", False),
        ("openai", "gpt-4x", False),
        ("openrouter", "openai/gpt-4o", False),
        ("anthropic", "claude-opus-5", False),
        ("groq", "llama-3.3-70b-versatile", False),
    ],
)
def test_only_openai_models_of_a_published_tokenizer_are_exact(
    provider: str, model: str, exact: bool
) -> None:
    assert tokens.exact_for(provider, model) is exact


def test_other_families_are_estimated_above_the_known_count_and_rounded_up() -> None:
    known = tokens.count("hello world " * 50, "gpt-4o")
    assert tokens.count("hello world " * 50, "claude-opus-5") == -(-known * 3 // 2)
    assert tokens.count("hello world " * 50, "mistral-large") == -(-known * 6 // 5)
    assert tokens.count("", "claude-opus-5") == 0


@pytest.mark.parametrize(
    "text", ["<|endoftext|>", "a\ud800b", "\x00", "a" * 50_000, "^" * 200_000, " " * 100_000]
)
def test_hostile_text_is_counted_like_any_other(text: str) -> None:
    assert 0 < tokens.count(text, "gpt-4o") <= len(text.encode("utf-8", "surrogatepass"))


def test_many_threads_that_come_first_share_one_encoding() -> None:
    tokens._encodings.clear()
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda _: tokens.count("tiktoken is great!", "gpt-4o"), range(32)))
    assert set(counts) == {6}
    assert list(tokens._encodings) == ["o200k_base"]


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_the_shipped_ranks_are_those_that_tiktoken_expects(name: str) -> None:
    packed = files("metering").joinpath("ranks", f"{name}.tiktoken.xz").read_bytes()
    assert hashlib.sha256(lzma.decompress(packed)).hexdigest() == tokens._CHECKSUMS[name]


def test_damaged_ranks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tokens._CHECKSUMS, "o200k_base", "0" * 64)
    with pytest.raises(tokens.RanksDamaged, match="o200k_base"):
        tokens._load("o200k_base")


def test_nothing_is_loaded_before_the_first_count() -> None:
    code = (
        "import sys, metering.tokens as t; t.exact_for('openai', 'gpt-4o'); print('tiktoken' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


def test_counting_needs_no_network_and_no_cache(tmp_path: object) -> None:
    code = (
        "import socket\n"
        "def refused(*a, **k): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = refused\n"
        "import metering.tokens as t; print(t.count('tiktoken is great!', 'gpt-4o'))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"TIKTOKEN_CACHE_DIR": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path)},
    )
    assert found.stdout == "6\n"
