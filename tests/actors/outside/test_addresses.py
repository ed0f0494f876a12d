"""Which addresses a customer's host may have."""

import socket
from ipaddress import ip_address

import pytest

from actors.outside.addresses import ForbiddenAddressError, UnknownHostError, is_public, resolve


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"])
def test_an_address_on_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.9.9", "169.254.169.254", "100.64.0.1", "224.0.0.1",
        "240.0.0.1", "0.1.2.3", "::1", "::", "fe80::1", "fd00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:7f00:1::1", "2002:a00:1::", "2001:0:808:808::1", "2001:db8::1",
        "fec0::1", "3fff::1", "2a00:1450::5efe:a9fe:a9fe", "2a00:1450::200:5efe:a9fe:a9fe", "192.0.0.9", "192.88.99.1",
        "168.63.129.16",
    ],
)  # fmt: skip
def test_an_address_that_leads_inside_is_not(address: str) -> None:
    assert not is_public(ip_address(address))


def answers(monkeypatch, *addresses: str) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 993)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_arguments, **_named: found)


def test_one_private_address_among_public_ones_refuses_the_host(monkeypatch) -> None:
    answers(monkeypatch, "8.8.8.8", "10.0.0.1")
    with pytest.raises(ForbiddenAddressError, match=r"'mail\.example' is not on the public internet"):
        resolve("mail.example", 993)


def test_the_first_address_is_the_one_to_connect_to(monkeypatch) -> None:
    answers(monkeypatch, "8.8.8.8", "8.8.4.4")
    assert resolve("mail.example", 993) == "8.8.8.8"


def test_an_address_with_a_scope_is_refused(monkeypatch) -> None:
    answers(monkeypatch, "fe80::1%eth0")
    with pytest.raises(ForbiddenAddressError):
        resolve("mail.example", 993)


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "localhost"])
def test_the_loopback_in_disguise_is_refused(host: str) -> None:
    with pytest.raises((ForbiddenAddressError, UnknownHostError)):
        resolve(host, 993)


def test_a_private_host_is_reached_where_that_is_allowed() -> None:
    assert resolve("127.0.0.1", 143, private_allowed=True) == "127.0.0.1"


def test_a_name_that_cannot_be_one_is_unknown() -> None:
    with pytest.raises(UnknownHostError):
        resolve("a" * 300 + ".example", 993)
