"""What is wrong with settings that are well-formed: files, prices and models that do not exist.

`load_settings` judges form; this judges against the world, for `check-config`, for a start and for a
reload. Sentences of `complaints` forbid a start; those of `remarks` are only worth knowing.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from gateway.settings import ConfigError, Settings


def complaints(settings: Settings) -> list[str]:
    """Every fault, one sentence each, path first; empty when the settings can be used."""
    found: list[str] = []
    for name, provider in settings.providers.items():
        for field in ("ca_bundle", "client_certificate", "client_key"):
            path: Path | None = getattr(provider, field)
            if path is not None and not path.is_file():
                found.append(f"providers.{name}.{field}: no such file: {path}")
        key_file = provider.auth.credentials_file
        if key_file is not None and not key_file.is_file():
            found.append(f"providers.{name}.auth.credentials_file: no such file: {key_file}")
        if provider.client_key is not None and provider.client_certificate is None:
            found.append(f"providers.{name}.client_key: needs client_certificate beside it")
    found += _prices(settings)
    for alias, route in settings.routes.items():
        if settings.simulated:
            found.append(f"routes.{alias}: needs a provider; none is configured")
            continue
        if (
            route.minimum_output is not None
            and route.assumed_max_output is not None
            and route.minimum_output > route.assumed_max_output
        ):
            found.append(
                f"routes.{alias}.minimum_output: {route.minimum_output} is more than "
                f"assumed_max_output ({route.assumed_max_output})"
            )
    return found


def _prices(settings: Settings) -> list[str]:
    """Price lists that do not exist, and every fault of the configured prices."""
    if not settings.providers and not settings.prices:
        return []  # the usual first start, which need not load the price book to find nothing
    from gateway.prices import price_book
    from metering.pricelist import listed_providers

    listed = listed_providers()
    routed = {target.provider for route in settings.routes.values() for target in route.targets}
    own = {price.provider for price in settings.prices}
    found = []
    for name, provider in settings.providers.items():
        if provider.prices is not None and not _list_exists(provider.prices, (*listed, *own)):
            found.append(
                f"providers.{name}.prices: no price list {provider.prices!r}; known: {', '.join(listed)}"
            )
        elif (
            provider.prices is None
            and provider.models == "priced"
            and name not in (*listed, *own)
            and name not in routed
        ):
            found.append(
                f"providers.{name}.models: there is no price list {name!r} to take them from, and no route "
                "leads there; list the models, or name another list with `prices`"
            )
    try:
        price_book(settings)
    except ConfigError as error:
        found += error.complaints
    return found


def _list_exists(prices: str, known: Collection[str]) -> bool:
    """Whether there is such a price list, or at least one where the model's suffix names it."""
    before, suffixed, after = prices.partition("{suffix}")
    if not suffixed:
        return prices in known
    return any(each.startswith(before) and each.endswith(after) for each in known)


def remarks(settings: Settings) -> list[str]:
    """What a person would want to know before the first request fails."""
    found = []
    for name, provider in settings.providers.items():
        if provider.api_key_env is not None and provider.secret is None:
            found.append(
                f"providers.{name}.api_key_env: the environment variable {provider.api_key_env} is not set; "
                "requests go there without a credential"
            )
        for setting, variable in provider.auth.unset():
            found.append(
                f"providers.{name}.auth.{setting}: the environment variable {variable} is not set; "
                "no request can go there"
            )
        several = [("api_keys", each) for each in provider.api_keys]
        several += [("regions", each) for each in provider.regions]
        for field, credential in several:
            if credential.api_key_env is not None and credential.secret is None:
                found.append(
                    f"providers.{name}.{field}: the environment variable {credential.api_key_env} is not set"
                )
    if settings.simulated:
        found.append("no provider is configured: the simulated provider serves")
    return found
