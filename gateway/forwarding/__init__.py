"""Forwarding: from an admitted request to a provider's answer, and what is read from it on its way back.

`candidates` are the route's targets with their prices and ceilings, `attempts` the only place that tries
again, `upstream` one attempt, `relay` the answer's bytes on their way, `tap` the usage read from them;
`healthboard` shares circuits between workers; `explaining` and `probing` walk the same ways without a client.
"""
