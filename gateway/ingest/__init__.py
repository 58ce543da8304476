"""Ingest: events that applications report after the fact, for traffic that does not pass through the gateway.

    fields     how single fields are read, and what is wrong with them
    tokens     token counts: totals that include their parts, and the parts
    observe    one event of `POST /api/events/ingest`
    platform   one event of `POST /api/v1/client/events`
    reported   what was reported, typed, with the digest of what it says
    pricing    what a reported event cost
    making     the cost event that a report becomes
    work       the reports of one request, and what became of each
    calls      which reports tell of a call that the gateway made itself
    placing    on which plan customers were when it happened
    writer     the one thread that stores reports, many requests in a transaction
    recording  what such a transaction writes
    counting   stored reports on the rows of limits, each once
    metrics    what Prometheus hears
    ingest     all of it, as the api process holds it

The endpoints are in gateway/api/ingest.py.
"""
