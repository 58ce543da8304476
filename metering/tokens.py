"""How many tokens a text is: exact for OpenAI's models of known tokenizer, estimated for all others.

The ranks are shipped compressed (`metering/ranks`, see its NOTICE) and loaded on first use: nothing is ever
fetched. Loading takes about 0.3 s and 90 MB, and holds up all threads for most of that; counting takes
40-80 us per KB, so callers run `count` off the event loop; it is thread-safe, and counting holds no lock.
"""

from __future__ import annotations

import hashlib
import lzma
import re
from base64 import b64decode
from importlib.resources import files
from threading import Lock
from typing import TYPE_CHECKING

from metering.calibration import PPM, estimated

if TYPE_CHECKING:
    from tiktoken import Encoding

# SHA-256 of the uncompressed ranks, as tiktoken 0.14 expects them.
_CHECKSUMS = {
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
}
# How text is split before merging, as published in tiktoken_ext/openai_public.py (tiktoken 0.14).
_PATTERNS = {
    "cl100k_base": (
        r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|"""
        r"""\s++$|\s*[\r\n]|\s+(?!\S)|\s"""
    ),
    "o200k_base": "|".join(
        [
            r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*"""
            r"""[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
            r"""[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"""
            r"""[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?""",
            r"""\p{N}{1,3}""",
            r""" ?[^\s\p{L}\p{N}]+[\r\n/]*""",
            r"""\s*[\r\n]+""",
            r"""\s+(?!\S)""",
            r"""\s+""",
        ]
    ),
}
# The families whose encoding OpenAI has published, most specific first. Newer ones are estimated until then.
_FAMILIES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), encoding)
    for pattern, encoding in (
        (r"(?:ft:)?gpt-4o|chatgpt-4o", "o200k_base"),
        (r"(?:ft:)?gpt-4\.[15]", "o200k_base"),
        (r"gpt-5(?:[.:-]|$)", "o200k_base"),
        (r"gpt-oss-", "o200k_base"),
        (r"(?:ft:)?o[134](?:[:-]|$)", "o200k_base"),
        (r"(?:ft:)?gpt-4(?:[:-]|$)", "cl100k_base"),
        (r"(?:ft:)?gpt-3(?:\.5|5)(?:[:-]|$)", "cl100k_base"),
        (r"(?:ft:)?(?:davinci|babbage)-002", "cl100k_base"),
        (r"text-embedding-(?:ada-002|3-(?:small|large))", "cl100k_base"),
    )
)
_EXACT_PROVIDERS = frozenset({"openai", "azure"})
# What other families are taken to need of the o200k count. Rough by declaration: such counts are labelled
# estimated, and give way to what the provider reports and to what its reports teach (metering.calibration).
_FACTORS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"claude-(?:opus-4-[7-9]|(?:opus|sonnet|haiku)-[5-9]|fable|mythos)"), 3 * PPM // 2),
    (re.compile(r""), 6 * PPM // 5),
)

_encodings: dict[str, Encoding] = {}
_loading = Lock()


class RanksDamaged(Exception):
    """The shipped token ranks are not what they should be: reinstall tollkeeper."""


def exact_for(provider: str, model: str) -> bool:
    """True where `count` is exact: a model of a family with a published tokenizer, at OpenAI or Azure."""
    return provider.lower() in _EXACT_PROVIDERS and _encoding_name(model) is not None


def count(text: str, model: str) -> int:
    """Tokens of `text` alone, without what a chat format adds around it.

    Exact for models of a known tokenizer (see `exact_for`), elsewhere an estimate that rather exceeds.
    """
    return estimated(plain_count(text, model), family_ppm(model))


def plain_count(text: str, model: str) -> int:
    """Tokens of `text` by the model's own tokenizer where that is published, elsewhere by o200k's."""
    return len(_encoding(_encoding_name(model) or "o200k_base").encode_ordinary(text))


def family_ppm(model: str) -> int:
    """What the model's family is taken to need of the plain count, in millionths."""
    if _encoding_name(model) is not None:
        return PPM
    lower = model.lower()
    return next(factor for family, factor in _FACTORS if family.search(lower))


def loaded() -> bool:
    """Whether o200k is: whoever can do without shall not be the one to load it."""
    return "o200k_base" in _encodings


def _encoding_name(model: str) -> str | None:
    lower = model.lower()
    return next((name for family, name in _FAMILIES if family.match(lower)), None)


def _encoding(name: str) -> Encoding:
    """The encoding, loaded once per process; whoever comes while it loads waits for it."""
    loaded = _encodings.get(name)
    if loaded is None:
        with _loading:
            loaded = _encodings.get(name)
            if loaded is None:
                loaded = _encodings[name] = _load(name)
    return loaded


def _load(name: str) -> Encoding:
    # Imported here: most workers never count a token, and the import alone takes tens of milliseconds.
    from tiktoken import Encoding

    try:
        ranks = lzma.decompress(files("metering").joinpath("ranks", f"{name}.tiktoken.xz").read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise RanksDamaged(f"{name}: the shipped token ranks cannot be read: {error}") from error
    if hashlib.sha256(ranks).hexdigest() != _CHECKSUMS[name]:
        raise RanksDamaged(f"{name}: the shipped token ranks are not those that were published")
    merges = {}
    for line in ranks.splitlines():
        token, _, rank = line.partition(b" ")
        merges[b64decode(token)] = int(rank)
    # Text is counted as plain text: special tokens in it are the provider's to interpret, so none are needed.
    return Encoding(name, pat_str=_PATTERNS[name], mergeable_ranks=merges, special_tokens={})
