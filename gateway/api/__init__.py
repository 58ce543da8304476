"""The read and management API, and what workers answer of it themselves.

A worker carries a request to the api process, which finds its endpoint in the table, checks it and asks the
endpoint's handler in a thread:

    relay, hop             in the worker: there and back, and what the two tell each other
    process, parts         the api process, and what it holds
    application, endpoint  the way from a request to its handler; what a handler is given
    reading, answers       queries, bodies and errors, as they are written on the wire
    table, openapi         all endpoints, and the document that is made of them
    components             what the document's operations share
    metrics                what Prometheus hears

Endpoints stand in a file for each thing that is asked about: `customers`, `limits`, `events`, ... What it
needs beside them is named after it: `...models` has its queries and bodies, `...view` its answers. Those that
differ below `/api/v1/client` begin with `client`. Endpoints share

    fields, amounts        kinds of fields: money, moments, names
    cursor, ordering       where a page begins, and in which order
    refusing               pages of lists, and what the books of the record refuse
    spans, views, figures  a span of time, margins in it by any names, and their fields in answers
    charges, singles       what is owed beside requests; requests one by one

Workers answer entitlements themselves, by the same copies and counters by which they admit requests: what
`entitlementtable` tells the document of is served by `entitlements` and `evaluations`.
"""
