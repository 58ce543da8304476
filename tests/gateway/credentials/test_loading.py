"""What signs for Amazon and Google is loaded by the first provider that needs it, and by no other worker."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import asyncio
import gateway.worker
from gateway.forwarding.healthboard import HealthBoard
from gateway.forwarding.upstream import build_upstream
from gateway.settings import ProviderSettings

def loaded():
    return sorted({"botocore", "google.auth", "urllib3", "cryptography.hazmat"} & sys.modules.keys())

async def begin():
    keys = {"access_key_id": "A", "secret_access_key": "S"}
    for auth in ("bearer", {"kind": "sigv4", "region": "us-east-1", **keys}):
        settings = ProviderSettings(base_url="http://127.0.0.1:9", auth=auth)
        upstream = build_upstream("one", settings, version="1", board=HealthBoard())
        print(loaded())
        upstream.start()
        endpoint = upstream.endpoints[0]
        await endpoint.identity.headers(b"POST", "h", b"/", [], b"")
        await upstream.aclose()
        print(loaded())

print(loaded())
asyncio.run(begin())
"""


@pytest.mark.wide
def test_libraries_of_the_clouds_are_loaded_when_they_are_needed() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, built, started, built_signing, signed = ran.stdout.splitlines()
    assert before == built == started == built_signing == "[]"
    assert signed == "['botocore', 'urllib3']"
