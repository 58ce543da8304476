"""What is known of Anthropic by its name, and from a bare environment."""

from __future__ import annotations

import pytest

from gateway.forwarding.healthboard import HealthBoard
from gateway.forwarding.upstream import build_upstream
from gateway.settings import Settings
from routing import presets


def test_a_key_in_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in presets.known():
        for variable in (presets.preset(name) or {}).get("env", ()):
            monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-1")
    # Clients are pointed at a gateway by this one: it must not be pointed at itself.
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:8787")
    found = Settings().providers
    assert set(found) == {"anthropic"}
    upstream = build_upstream("anthropic", found["anthropic"], version="1", board=HealthBoard())
    assert upstream.only is not None
    assert upstream.only.path("messages", "m") == b"/v1/messages"
    assert upstream.only.path("messages.count_tokens", "m") == b"/v1/messages/count_tokens"
    assert upstream.operations == {"messages", "messages.count_tokens"}
    assert (upstream.prices, upstream.cancel_stops_billing) == ("anthropic", True)
    provider = found["anthropic"]
    assert (provider.base_url, provider.auth.kind) == ("https://api.anthropic.com/v1", "x-api-key")
    assert provider.secret == "sk-ant-1"
