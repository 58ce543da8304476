"""Ingest: events that applications report after the fact, for traffic that does not pass through the gateway.

document    the body as JSON, with numbers exactly as they were written
fields      how single fields are read, and what is wrong with them
observe     one event of `POST /api/events/ingest`
platform    one event of `POST /api/v1/client/events`
reported    what was reported, typed; its canonical form and hash
pricing     what a reported event cost
making      the cost event that a report becomes
writer      the one thread that stores reports, many in a transaction
counting    stored reports on the rows of limits, each once
answers     what the endpoints say
"""
