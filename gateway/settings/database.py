"""Settings of the record: where keys, limits, plans, customers and events are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from gateway.settings.section import Section

if TYPE_CHECKING:  # workers, who never use the database, need not load what does
    from metering.database import Where

DATABASE = "tollkeeper.db"
"""The file in the data directory that holds keys, limits and events, where no server does."""


class DatabaseSettings(Section):
    """The record. Without a URL it is a SQLite file in the data directory."""

    url: str | None = Field(None, description="postgresql://user:password@host:5432/database")

    @field_validator("url")
    @classmethod
    def url_is_of_a_server(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("begins with postgresql:// (without a URL, a SQLite file in data_dir is used)")
        return value

    def at(self, data_dir: Path) -> Where:
        """The database of an installation with this data directory."""
        return self.url or data_dir / DATABASE
