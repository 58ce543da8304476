"""Credentials: what makes a request to a provider ours, from a header that never changes to a signature.

credential  what the upstream asks for, and the fault where none is to be had (`credential`)
header      one header with a key, the same for every request (`header`)
signature   Amazon's SigV4, made for each request by botocore's signer (`sigv4`)
keys        Amazon's keys, written down or found where Amazon's tools find them (`awskeys`)
token       Google's access token, which lasts an hour (`google`)
lease       something that lasts for a while, fetched ahead of its end (`lease`)
maker       makes the credentials of a provider's endpoints from its settings (`build`)

A credential that is a header is put into an endpoint's headers when the configuration is read, and costs a
request nothing. The libraries behind the others are imported in the thread that fetches, by the first
provider that needs one. No secret is in a log line, an exception or a repr.

Not owned here: which credential an attempt takes, and what follows when it is refused.
"""

from gateway.credentials.build import Maker, credential_maker
from gateway.credentials.credential import Credential, CredentialFault

__all__ = ["Credential", "CredentialFault", "Maker", "credential_maker"]
