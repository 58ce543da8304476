"""Wire formats: what a client's request means, and what a provider's answer says was used.

A dialect reads a call once into an `Exchange` (the parsed body, and what was understood of it), writes the
body that is forwarded, and reads usage out of answers into `metering.usage.Usage`: inclusive totals with
subsets, normalised here and nowhere else. Deciding code only: no I/O.
"""

from __future__ import annotations

from gateway.dialects import openai_chat, openai_completions, openai_embeddings, openai_moderations
from gateway.dialects.exchange import Exchange

READERS = {
    "chat.completions": openai_chat.read_call,
    "completions": openai_completions.read_call,
    "embeddings": openai_embeddings.read_call,
    "moderations": openai_moderations.read_call,
}
"""Surface name -> function that reads a parsed body into an Exchange, or raises BadRequest."""

__all__ = ["READERS", "Exchange"]
