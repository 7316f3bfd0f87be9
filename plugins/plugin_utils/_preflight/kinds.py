# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of values, recognised by the name of the variable as the roles name them: ``*_port``, ``*_subnet`` …"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Any, Optional

OLDEST_KUBERNETES = (1, 33)
HOST_NAME = "a host name such as worker-1, in lower case"

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})+", re.IGNORECASE)
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_URL = re.compile(r"https?://[^\s/]+(/\S*)?")
_SHA256 = re.compile(r"(sha256:)?[0-9a-f]{64}", re.IGNORECASE)
_FINGERPRINT = re.compile(r"([0-9A-F]{4} *){10}", re.IGNORECASE)
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+([.+~-][0-9A-Za-z.+~-]*)?")
_IMAGE = re.compile(r"([a-z0-9.-]+(:[0-9]+)?/)?[a-z0-9._/-]+(:[A-Za-z0-9._-]{1,128})?(@sha256:[0-9a-f]{64})?")
_TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}")
_LISTEN = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/]*):[0-9]{1,5}")
_MEMORY = re.compile(r"infinity|[0-9]+[KMGT]?|[0-9]{1,3}(\.[0-9]+)?%")
_CA_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_TAINT = re.compile(r"[A-Za-z0-9./_-]+=[A-Za-z0-9._-]*:(NoSchedule|PreferNoSchedule|NoExecute)")


def is_host_name(text: str) -> bool:
    return len(text) <= 253 and _HOST_NAME.fullmatch(text) is not None


def network(text: Any) -> Optional[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The network that a text such as ``10.0.0.0/16`` means, or None."""
    try:
        return ipaddress.ip_network(str(text)) if "/" in str(text) else None
    except ValueError:
        return None


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    return lambda value: pattern.fullmatch(str(value)) is not None


def _is_number(low: int, high: int, besides: tuple[int, ...] = ()) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        return bool(re.fullmatch(r"-?[0-9]+", str(value))) and (low <= int(value) <= high or int(value) in besides)

    return check


def _is_port_range(value: Any) -> bool:
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?(/(tcp|udp))?", str(value))
    return match is not None and 1 <= int(match[1]) <= int(match[2] or match[1]) <= 65535


def _is_kubernetes_version(value: Any) -> bool:
    match = re.fullmatch(r"([0-9]+)\.([0-9]+)\.([0-9]+)", str(value))
    return match is not None and (int(match[1]), int(match[2])) >= OLDEST_KUBERNETES


# First match wins. Pattern of the name, the check, and what would be right.
KINDS: tuple[tuple[re.Pattern[str], Callable[[Any], bool], str], ...] = tuple(
    (re.compile(pattern), check, right)
    for pattern, check, right in (
        (r"kubernetes_version", _is_kubernetes_version, "a version such as 1.36.4, at least 1.33.0"),
        (
            r"kubernetes_node_name",
            lambda value: is_host_name(str(value)),
            HOST_NAME,
        ),
        (r"kubernetes_node_taints\[\d+\]", _matches(_TAINT), "a taint such as gpu=true:NoSchedule"),
        (r"kubernetes_join_ca_hash", _matches(_CA_HASH), "sha256: and 64 hexadecimal digits"),
        (
            r"kubernetes_join_token",
            _matches(_TOKEN),
            "a token such as abcdef.0123456789abcdef",
        ),
        (r".*_password", lambda value: len(str(value)) >= 8, "at least 8 characters"),
        (r".*(_|\.)version", _matches(_VERSION), "a version such as 2.2.7"),
        (r".*_port", _is_number(1, 65535), "a port from 1 to 65535"),
        (r".*_mtu", _is_number(1280, 9216, besides=(0,)), "a number from 1280 to 9216, or 0 for the network's own"),
        (r".*_domain", _matches(_DOMAIN), "a domain name such as oscar.example.org"),
        (r".*_(subnet|cidr)", lambda value: network(value) is not None, "a network such as 10.244.0.0/16"),
        (r".*_networks\[\d+\]", lambda value: network(value) is not None, "a network such as 192.0.2.0/24"),
        (r"kubernetes_node_address", lambda value: is_address(str(value)), "an IP address"),
        (r".*(_|\.)(checksum|sha256)", _matches(_SHA256), "a SHA-256, 64 hexadecimal digits"),
        (r".*_fingerprint", _matches(_FINGERPRINT), "a fingerprint of 40 hexadecimal digits"),
        (r".*(_|\.|^)(url|key_url)", _matches(_URL), "a URL such as https://example.org/file"),
        (r"kubernetes_registry_mirrors\..*\[\d+\]", _matches(_URL), "a URL such as https://mirror.example.org"),
        (r".*_image", _matches(_IMAGE), "an image such as docker.io/library/busybox:1.36"),
        (
            r".*_(listen|upstream)|minio_(console_)?address",
            _matches(_LISTEN),
            "an address and a port such as 127.0.0.1:8080",
        ),
        (r".*_memory_max", _matches(_MEMORY), "an amount such as 2G, a share such as 50%, or infinity"),
        (r".*_token_lifetime|service_account_lifetime", _is_number(600, 10**9), "at least 600 seconds"),
        (r".*_disk_limit", _is_number(0, 10**18), "a number of bytes, or 0 for no limit"),
        (r"invoker_max_pending", _is_number(0, 10**18), "a number of bytes, or 0 for twice the largest body"),
        (r".*_pids_limit", _is_number(1, 10**9, besides=(-1,)), "a number above 0, or -1 for no limit"),
        (r"firewall_public_rate", _is_number(0, 10**6), "a number of connections a minute, or 0 for no limit"),
        (r"firewall_public_burst", _is_number(1, 10**6), "a number of connections above 0"),
        (r"firewall_(ssh|public)_ports\[\d+\]", _is_number(1, 65535), "a port from 1 to 65535"),
        (r"(port_survey|firewall)_.*[._](ports|tcp|udp)\[\d+\]", _is_port_range, "a port or a range such as 7000-7020"),
        (r".*_(timeout|days|watchdog)", _is_number(0, 10**9), "a number that is not negative"),
    )
)


def wrong(name: str, value: Any) -> str:
    """What would be right for a value that does not fit its name, or an empty text. An empty value means "not set"."""
    if value in ("", None):
        return ""
    for pattern, check, right in KINDS:
        if pattern.fullmatch(name):
            return "" if check(value) else right
    return ""
