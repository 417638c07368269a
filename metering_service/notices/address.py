"""Which addresses webhooks may be sent to: public ones, and those of networks that an operator allowed."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from metering_service.settings import IPV4_IN_IPV6

Network = IPv4Network | IPv6Network

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""RFC 4291, 2.4: what routers on the internet forward. Loopback, link-local, unique local are not."""
_RELAYED = (IPv6Network("2001::/32"), IPv6Network("2002::/16"))
"""Teredo and 6to4: a relay would send on to the IPv4 address that is in it."""


class AddressRefused(OSError):
    """An address is not public, and nobody allowed it. Says no more: several that are refused count as one fault."""

    def __init__(self) -> None:
        super().__init__("its address is not public, and METERING_WEBHOOK_NETWORKS does not allow it")


@dataclass(frozen=True, slots=True)
class AddressGuard:
    """Refuses connections into private networks but for `allowed` ones: a receiver's name may lead anywhere."""

    allowed: Sequence[Network] = ()

    def may_reach(self, text: str) -> bool:
        """Return whether a webhook may be sent to an IP address."""
        address = _unwrap(ip_address(text))
        return is_public(address) or any(address in network for network in self.allowed)

    def open_socket(self, where: tuple[Any, ...]) -> socket.socket:
        """Make the socket for a connection to `where`, as getaddrinfo describes it: aiohttp's socket factory.

        It is asked for each address right before it is connected to, whatever a name meant a moment ago, and whether
        there was a name at all. Raises AddressRefused.
        """
        family, kind, protocol, _, address = where
        if not self.may_reach(address[0]):
            raise AddressRefused
        return socket.socket(family, kind, protocol)


def _unwrap(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, else itself."""
    if any(address in network for network in IPV4_IN_IPV6):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Return whether an address is one of the internet's: no private, shared, link-local or reserved one."""
    if isinstance(address, IPv6Address) and (
        address not in _GLOBAL_UNICAST or any(address in network for network in _RELAYED)
    ):
        return False
    return address.is_global and not address.is_multicast
