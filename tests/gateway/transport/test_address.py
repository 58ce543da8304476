"""Which addresses an upstream may have."""

from __future__ import annotations

import ipaddress

import pytest

from gateway.transport.address import is_permitted, resolve
from gateway.transport.errors import AddressRefused, ConnectFailed
from gateway.transport.options import Origin

PUBLIC = ["1.1.1.1", "104.18.6.192", "2606:4700::6812:6c0", "64:ff9b::101:101"]
OWN = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "240.0.0.1",
    "::1",
    "::",
    "fd12:3456::1",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "::7f00:1",
    "::ffff:0:7f00:1",
    "64:ff9b:1::101:101",
    "2606:4700::5efe:a00:1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "fec0::1",
    "192.0.0.8",
    "192.88.99.1",
    "5f00::1",
    "3fff::1",
    "2001:db8::1",
]
NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "fe80::1",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "::a9fe:a9fe",
    "::ffff:0:a9fe:a9fe",
    "64:ff9b:1::a9fe:a9fe",
    "64:ff9b:1:a9fe:a9:fe00::",
    "64:ff9b::a83f:8110",
    "fe80::5efe:a9fe:a9fe",
    "2606:4700::5efe:a9fe:a9fe",
    "::ffff:100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::23",
    "fd20:ce::254",
    "224.0.0.1",
    "ff02::1",
]


@pytest.mark.parametrize(
    ("text", "guarded", "allowed"),
    [(text, True, True) for text in PUBLIC]
    + [(text, False, True) for text in OWN]
    + [(text, False, False) for text in NEVER],
)
def test_an_address_is_judged_by_where_it_leads(text: str, guarded: bool, allowed: bool) -> None:
    ip = ipaddress.ip_address(text)
    assert is_permitted(ip, allow_private=False) is guarded
    assert is_permitted(ip, allow_private=True) is allowed


async def test_a_literal_is_checked_like_any_other() -> None:
    found = await resolve(Origin.parse("http://[::1]:8080"), allow_private=True)
    assert [(address.ip, address.port) for address in found] == [("::1", 8080)]
    with pytest.raises(AddressRefused, match="::1 is not a public address"):
        await resolve(Origin.parse("http://[::1]:8080"), allow_private=False)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0"])
async def test_another_way_to_write_an_address_leads_where_it_leads(host: str) -> None:
    """The system's resolver reads them, and what it gives is judged."""
    with pytest.raises(AddressRefused, match=r"is not a public address"):
        await resolve(Origin.parse(f"http://{host}:8080"), allow_private=False)


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "169.254.43518", "[::ffff:a9fe:a9fe]"])
async def test_a_metadata_address_in_disguise_is_refused_even_on_the_own_network(host: str) -> None:
    with pytest.raises(AddressRefused):
        await resolve(Origin.parse(f"http://{host}:80"), allow_private=True)


async def test_a_name_gives_all_its_permitted_addresses() -> None:
    found = await resolve(Origin.parse("http://localhost:8080"), allow_private=True)
    assert {address.ip for address in found} <= {"127.0.0.1", "::1"}
    assert found
    with pytest.raises(AddressRefused):
        await resolve(Origin.parse("http://localhost:8080"), allow_private=False)


async def test_a_name_that_cannot_be_encoded_is_a_failed_connect() -> None:
    with pytest.raises(ConnectFailed, match="cannot be resolved"):
        await resolve(Origin.parse("http://" + "a" * 70 + ".example"), allow_private=True)
