"""The simulated provider as settings: configured like real ones, where none of those is.

One server speaks several dialects, each with its own models, prices and credential: so it stands here as
several providers, named after the known ones whose paths and habits they have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway.settings import ProviderSettings, Settings
from routing.presets import filled, preset

NAME = "simulated"


@dataclass(frozen=True, slots=True)
class _Stand:
    """What one of them has of a known provider.

    `preset`: the known one. `below`: its address below the server's. `without`: what it can be asked and the
    simulated one cannot, or is asked elsewhere. `more`: paths that it has beside those. `auth`: how the
    credential is sent, where the simulated one is told otherwise.
    """

    preset: str
    below: str
    without: frozenset[str] = frozenset()
    more: tuple[tuple[str, str], ...] = ()
    auth: str | None = None


_OPENAI_FORMATS = frozenset({"chat.completions", "embeddings"})
_CLAUDES = "/projects/simulated/locations/global/publishers/anthropic/models"
_AT_VERTEX = (
    ("rawPredict", f"{_CLAUDES}/{{model}}:rawPredict"),
    ("rawPredict.stream", f"{_CLAUDES}/{{model}}:streamRawPredict"),
    ("rawPredict.count_tokens", f"{_CLAUDES}/count-tokens:rawPredict"),
)
"""Where Vertex AI has Anthropic's models, for clients that believe to be there; it wants a bearer token."""
_DATE = re.compile(r"-(?=\d{8}$)")
_STANDS: Mapping[str, _Stand] = {
    NAME: _Stand("openai", "/v1"),
    f"{NAME}-anthropic": _Stand("anthropic", "/v1", more=_AT_VERTEX, auth="bearer"),
    f"{NAME}-gemini": _Stand(
        "gemini",
        "/v1beta/openai",
        without=_OPENAI_FORMATS,
        # Vertex AI's own way to embed, for clients that believe to be there.
        more=(("predict", "../../v1beta1/publishers/google/models/{model}:predict"),),
    ),
    f"{NAME}-cohere": _Stand("cohere", "", without=_OPENAI_FORMATS),
    f"{NAME}-bedrock": _Stand("bedrock", "/openai/v1", without=_OPENAI_FORMATS, auth="bearer"),
}


def with_simulated(settings: Settings, url: str | None = None) -> Settings:
    """The settings as `serve` uses them: with the simulated provider where no provider is configured.

    `url`: where it listens; by default on its configured port of this machine.
    """
    if not settings.simulated:
        return settings
    base = url or f"http://127.0.0.1:{settings.simulator.port}"
    offered = _offered()
    providers = {name: _provider(name, stand, base, offered[name]) for name, stand in _STANDS.items()}
    return settings.model_copy(update={"providers": providers})


def _provider(name: str, stand: _Stand, base: str, models: Iterable[str]) -> ProviderSettings:
    known = preset(stand.preset)
    assert known is not None
    paths = {operation: path for operation, path in known["paths"].items() if operation not in stand.without}
    given = {
        "preset": stand.preset,
        "base_url": f"{base}{stand.below}",
        "api_key": NAME,
        "models": list(models),
        "paths": {**paths, **dict(stand.more)},
        **({"auth": stand.auth} if stand.auth else {}),
    }
    return ProviderSettings.model_validate(filled(name, given))


def _offered() -> dict[str, Iterable[str]]:
    """The models of each, by every name that they answer to."""
    from simulator.anthropic.models import KNOWN as ANTHROPIC
    from simulator.bedrock.models import KNOWN as BEDROCK
    from simulator.cohere.models import KNOWN as COHERE
    from simulator.gemini.models import KNOWN as GEMINI
    from simulator.models import KNOWN as OPENAI

    return {
        NAME: OPENAI,
        # Vertex AI writes a date with an @.
        f"{NAME}-anthropic": dict.fromkeys((*ANTHROPIC, *(_DATE.sub("@", name) for name in ANTHROPIC))),
        f"{NAME}-gemini": GEMINI,
        f"{NAME}-cohere": COHERE,
        f"{NAME}-bedrock": BEDROCK,
    }
