"""What a worker and the api process tell each other about a request, in headers that no client can send.

What client and api process say of a compressed body goes by names of its own between the two: under the usual
ones it would be said of this hop, whose transport asks for no compression and undoes what comes.
"""

from __future__ import annotations

ADDRESS = "x-tollkeeper-address"
"""Whom the connection to the worker comes from."""
ACCEPTS = "x-tollkeeper-accept-encoding"
"""The client's Accept-Encoding."""
ENCODING = "x-tollkeeper-content-encoding"
"""The Content-Encoding of the answer to the client."""
