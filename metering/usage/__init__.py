"""What one attempt used: inclusive totals with subsets, and how each provider's answer tells them.

`totals` holds the counts themselves; each other file reads one wire format, once, into them. `readers` names
the readers. Nothing here does I/O: a reader takes the decoded JSON of an answer or of one stream event.
"""

from __future__ import annotations

from metering.usage.totals import FIELDS, Usage, counts

__all__ = ["FIELDS", "Usage", "counts"]
