"""`tollkeeper serve`: the processes of one installation, started in order, watched, and ended in order.

    supervisor   the order of all this; start reading here
    crew         who is started, with which sockets, and what each is told
    children     a child process, and its replacement when it dies
    child        the other side: what a child process does first (`python -m gateway.serve.child ROLE`)
    preparation  what must hold before the first worker: tables, keys in Redis, the ledger, the first key
    valkey       the embedded server: configuration, start, end
    engine       which Redis-compatible program that is, and whether it can read what is there
    leftover     a server that a killed supervisor left, found and ended
    launcher     how a foreign program is started so that it dies with us and holds its directory alone
    socketpath   where the embedded server's socket lies
    listeners    the sockets that the supervisor opens and keeps, one for each worker
    lock         one supervisor per data directory, and what a running one says of itself
    reload       what a running installation takes from a configuration that is read again
    validation   faults of a configuration that only the world shows
    scrape       the metrics port
    banner       what a person reads
    logs         how log lines look

It does not know how a request is served: that is `gateway.worker`.
"""
