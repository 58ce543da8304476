"""Presets: what is known of providers by their names, from the data files in `routing/providers`.

A preset is a mapping with the names of a provider's settings, and beside them

    title            the provider's name as people write it
    env              environment variables that hold its key; the first that is set counts
    key_optional     true where it usually asks for none
    url_env          environment variables with its address, where it has no fixed one (or a default one)
    url_suffix       what follows that address, where the variable holds only its beginning
    url_values       {variable: default}: what replaces {variable} inside base_url; "" where it must be set
    reports_cost     where its answers tell their cost, if they do (metering reads it)
    probe_model      a cheap chat model to try it with
    notes            what a person should know

Every figure's source stands beside it in the file, as a comment.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

_SUFFIX = ".toml"
_OWN = (
    "title",
    "env",
    "key_optional",
    "url_env",
    "url_suffix",
    "url_values",
    "probe_model",
    "reports_cost",
    "notes",
)


def known() -> list[str]:
    """The names of all known providers, sorted."""
    folder = files("routing") / "providers"
    return sorted(each.name.removesuffix(_SUFFIX) for each in folder.iterdir() if each.name.endswith(_SUFFIX))


@lru_cache(maxsize=64)
def preset(name: str) -> Mapping[str, Any] | None:
    """What is known of a provider; None for a name that is not."""
    if not name.replace("-", "").isalnum():
        return None
    file = files("routing") / "providers" / f"{name}{_SUFFIX}"
    if not file.is_file():
        return None
    return tomllib.loads(file.read_text(encoding="utf-8"))


def filled(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """A provider's settings with what is known of it put where nothing was set.

    `given` may name another `preset` than `name`. Unchanged where neither is known.
    """
    found = preset(str(given.get("preset") or name))
    if found is None:
        return dict(given)
    base = {key: value for key, value in found.items() if key not in _OWN}
    moved = "regions" in given or "base_url" in given
    public = str(base.get("base_url", "")).startswith("https:")
    if moved:
        base.pop("base_url", None)
    else:
        url = address(found)
        base.pop("base_url", None)
        if url is not None:
            base["base_url"] = url
    keyed = bool({"api_key", "api_key_env", "api_keys"} & given.keys()) or _has_its_own({**base, **given})
    if moved and public:
        # A credential goes to the address it is for, and to no other one unasked.
        base.pop("api_key_env", None)
        if _has_its_own(base) and not _stays(str(found["base_url"]), given):
            base.pop("auth")
    elif not keyed and found.get("env"):
        names = found["env"]
        there = next((each for each in names if os.environ.get(each)), None)
        if there is not None or not found.get("key_optional"):
            base["api_key_env"] = there or names[0]
    if keyed:
        base.pop("api_key_env", None)
    return {**base, **given}


def _has_its_own(settings: Mapping[str, Any]) -> bool:
    """Whether requests are made ours by more than a header with a key."""
    auth = settings.get("auth")
    if isinstance(auth, Mapping) and "kind" not in auth:
        return bool(auth)  # only those have fields
    return (auth["kind"] if isinstance(auth, Mapping) else auth) in ("sigv4", "google")


def _stays(known: str, given: Mapping[str, Any]) -> bool:
    """Whether all addresses that are given are of the known one's domain, as those of other regions are."""
    domain = "." + ".".join((urlsplit(known).hostname or "").split(".")[-2:])
    regions = [each.get("base_url") for each in given.get("regions") or () if isinstance(each, Mapping)]
    hosts = [urlsplit(str(url)).hostname or "" for url in regions or [given.get("base_url")]]
    return all(f".{host}".endswith(domain) for host in hosts)


def address(found: Mapping[str, Any]) -> str | None:
    """The address in force of a preset: the environment's, else the known one; None where it has none."""
    for variable in found.get("url_env", ()):
        if value := os.environ.get(variable):
            value = value if "://" in value else f"http://{value}"
            return value.rstrip("/") + str(found.get("url_suffix", ""))
    url = found.get("base_url")
    for variable, default in found.get("url_values", {}).items():
        value = os.environ.get(variable) or default
        if not value:
            return None
        url = str(url).replace("{" + variable + "}", value)
    return url


def from_environment() -> dict[str, dict[str, Any]]:
    """Settings of the providers that a bare environment names: those whose key is there, and whose address
    is."""
    found: dict[str, dict[str, Any]] = {}
    for name in known():
        about = preset(name)
        assert about is not None
        if about.get("key_optional"):
            continue  # a key says nothing about where such a server is
        if any(os.environ.get(each) for each in about.get("env", ())) and address(about) is not None:
            found[name] = filled(name, {})
    return found


def price_list(prices: str, model: str) -> tuple[str, str]:
    """(price list, the model's name in it), where the list's name is made of the model's suffix.

    Hugging Face's router sells `model:provider` at that provider's price: `huggingface_{suffix}`.
    """
    if "{suffix}" not in prices:
        return prices, model
    base, _, suffix = model.rpartition(":")
    return prices.replace("{suffix}", suffix if base else ""), base or model
