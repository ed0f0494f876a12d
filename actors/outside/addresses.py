"""Where we may connect to: a host name that a customer enters must not lead into our own network."""

import ipaddress
import socket

from actors.runtime.base.errors import LonghaulError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that has been allocated so far
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # before an IPv4 address, in the lower half
# What Python's versions disagree about (of protocols, and the relays of 6to4 as they once were), and where a machine at
# Azure reaches its host.
_SPECIAL = tuple(map(ipaddress.IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))


class ForbiddenAddressError(LonghaulError):
    """We do not connect to this host."""


class UnknownHostError(LonghaulError):
    """The host has no address."""


def is_public(address: Address) -> bool:
    """Is it on the public internet, as well as any IPv4 address inside it?

    `is_global` alone is not enough: an IPv6 address may carry a private IPv4 address to a gateway.
    """
    if isinstance(address, ipaddress.IPv4Address):
        special = any(address in network for network in _SPECIAL)
        return address.is_global and not address.is_multicast and not special
    if address in _NAT64:
        return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address.sixtofour is not None:
        return is_public(address.sixtofour)
    if int(address) >> 32 & 0xFFFF_FFFF in _ISATAP:
        return False
    return address in _UNICAST and address.is_global and address.teredo is None and address not in _DOCUMENTATION


def resolve(host: str, port: int, *, private_allowed: bool = False) -> str:
    """The address to connect to. Use exactly this one: resolving the name again might give another.

    ForbiddenAddressError if any address of the host is not public; UnknownHostError if it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UnknownHostError(f"The host {host[:100]!r} was not found") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise UnknownHostError(f"The host {host[:100]!r} was not found")
    if not private_allowed and not all(is_public_text(address) for address in addresses):
        raise ForbiddenAddressError(f"The host {host[:100]!r} is not on the public internet")
    return addresses[0]


def is_public_text(address: str) -> bool:
    """An address with a scope (`fe80::1%eth0`) is never public."""
    return "%" not in address and is_public(ipaddress.ip_address(address))
