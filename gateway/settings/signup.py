"""Settings of the signup, by which strangers get a key of an account of their own."""

from __future__ import annotations

from ipaddress import ip_network

from pydantic import Field, field_validator

from gateway.settings.section import Section


class SignupSettings(Section):
    """Whether there is one, how often for one address, and what its keys are at most."""

    enabled: bool = False
    per_hour: int = Field(3, ge=1, le=1_000, description="of one address; of IPv6, of one /64")
    budget_cents_max: int = Field(100, ge=0, le=900_000_000, description="of one key in its whole life")
    expires_days_max: int = Field(30, ge=1, le=3_650, description="until a key expires")
    trusted_proxies: list[str] = Field(
        [], max_length=64, description="networks whose X-Forwarded-For is believed"
    )

    @field_validator("trusted_proxies")
    @classmethod
    def networks(cls, value: list[str]) -> list[str]:
        for each in value:
            ip_network(each, strict=False)  # ValueError names what is wrong
        return value
