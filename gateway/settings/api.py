"""Settings of the read and management API, which the api process answers."""

from __future__ import annotations

from pydantic import Field

from gateway.settings.section import Section


class ApiSettings(Section):
    """How many questions are answered at once, and how long a caller is kept waiting."""

    threads: int = Field(4, ge=1, le=64, description="questions answered at the same time")
    answer_s: float = Field(60.0, gt=0, le=600, description="until an answer begins; then 504")
