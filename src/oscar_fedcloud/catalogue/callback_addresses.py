# SPDX-License-Identifier: Apache-2.0
"""Decides which addresses a callback may be sent to. Pure, except for resolving host names.

The URL is chosen by whoever declares a service, and the daemon runs inside the site. Therefore callbacks go to public
addresses only, unless the configuration allows other networks (``callback_networks``): not to this machine, the site's
own network, or the address where a cloud serves the credentials of its machines.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from oscar_fedcloud.fdl import FdlProblem, Service, make_problem

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_TRANSLATED = ip_network("64:ff9b::/96")  # NAT64: an IPv4 address in the last 32 bits


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """Return networks from CIDR notation. Raises ValueError."""
    return tuple(ip_network(text) for text in texts)


def refusal(address: Address, allowed: Sequence[Network]) -> str:
    """Return why a callback may not go to this address, or ""."""
    meant = _embedded(address)
    if any(one in network for network in allowed for one in (address, meant) if one.version == network.version):
        return ""
    if meant.is_global and not (meant.is_multicast or meant.is_reserved or meant.is_unspecified):
        return ""
    return f"{address} is no public address, and callback_networks does not name it"


def _embedded(address: Address) -> Address:
    """Return the IPv4 address embedded in an IPv6 address, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address


def addresses_of(host: str, port: int) -> list[Address]:
    """Return the addresses of a host in the resolver's order. Blocks. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def chosen(addresses: Iterable[Address], allowed: Sequence[Network]) -> tuple[list[Address], str]:
    """Return the allowed addresses, and why one of the others is refused."""
    good: list[Address] = []
    why = "the host has no address"
    for address in addresses:
        reason = refusal(address, allowed)
        if reason:
            why = reason
        else:
            good.append(address)
    return good, why


def callback_rule(allowed: Sequence[Network]) -> Callable[[Service], Iterator[FdlProblem]]:
    """Return an FDL rule that checks a service's callback, as far as its URL shows the address."""

    def rule(service: Service) -> Iterator[FdlProblem]:
        literal = _literal(service.callback)
        if literal is not None and refusal(literal, allowed):
            message = "points to an address that callbacks of this server may not go to"
            hint = "use a public address, or ask the administrator to name its network in callback_networks"
            yield make_problem("callback", service.callback, message, hint)

    return rule


def _literal(url: str) -> Address | None:
    """Return the address that a URL contains literally, in any form that resolvers accept; None for a name."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return None
    if host.rstrip(".").lower() == "localhost" or host.rstrip(".").lower().endswith(".localhost"):
        return IPv4Address("127.0.0.1")
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host)) if host[:1].isdigit() else None
    except (OSError, UnicodeError):
        return None
