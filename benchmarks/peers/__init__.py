"""Gateways of others, measured beside ours in the same rounds, each a subject in a file of its own.

`installed.py` finds what of them is here, `forwarding.py` makes sure that a peer really forwards before
anything of it is measured. What each does more or less of than ours stands beside its subject.
`install` (a shell script) installs the versions that the page in `docs/performance.md` speaks of.
"""
