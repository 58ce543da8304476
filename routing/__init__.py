"""Whom we ask: targets, the order in which they are tried, and what an attempt's outcome means."""
