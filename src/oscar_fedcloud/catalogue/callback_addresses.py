# SPDX-License-Identifier: Apache-2.0
"""Which addresses a callback may go to. Pure, apart from asking for the addresses of a name.

Whoever declares a service chooses the URL, and the daemon stands inside the site. So a callback goes to public
addresses only, unless the configuration names other networks (``callback_networks``): not to this machine, nor to the
site's own network, nor to the address from which a cloud hands out the credentials of its machines.
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
    """Networks from CIDR notation. Raises ValueError."""
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
    """The IPv4 address that an IPv6 address stands for, else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in _TRANSLATED:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1] or address


def addresses_of(host: str, port: int) -> list[Address]:
    """The addresses of a host, as the resolver orders them. Blocks. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(str(entry[4][0]).partition("%")[0]) for entry in found))


def chosen(addresses: Iterable[Address], allowed: Sequence[Network]) -> tuple[list[Address], str]:
    """Those addresses that a callback may go to, and why it may not go to another one."""
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
    """The check of a service's callback, as a rule for the FDL parser: as far as its URL alone tells."""

    def rule(service: Service) -> Iterator[FdlProblem]:
        literal = _literal(service.callback)
        if literal is not None and refusal(literal, allowed):
            message = "points to an address that callbacks of this server may not go to"
            hint = "use a public address, or ask the administrator to name its network in callback_networks"
            yield make_problem("callback", service.callback, message, hint)

    return rule


def _literal(url: str) -> Address | None:
    """The address that a URL names without a look-up, also in the odd forms that resolvers take; None for a name."""
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
