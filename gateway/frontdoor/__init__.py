"""The front door: what of a client's bytes becomes a request, and how long a client may take.

    limits      what an operator may set of it
    head        is this head one request, read in one way only? Pure
    protocol    one connection: uvicorn's protocol on httptools, guarded
    doorkeeper  all connections of a worker: how many, from where, and one sweep for all deadlines
    delivery    one request's two directions: its body in, its answer out
    metrics     what it counts

A request is served only if nobody before us can have read other bytes as a request than we do.
"""
