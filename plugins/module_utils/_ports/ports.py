# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: ports as users write them, and the words that a listener and a probe exchange."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass

_FORM = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp))?")

# A question and its answer have this form and are equally long, so nobody can use a listener to amplify traffic.
LINE = re.compile(rb"[0-9a-f]{32}\n")
LINE_LENGTH = 33


class PortError(Exception):
    """What is wrong, in one sentence."""


@dataclass(frozen=True, order=True)
class Port:
    """One port of one protocol, ``tcp`` or ``udp``. As text it is ``443`` or ``8472/udp``."""

    number: int
    protocol: str = "tcp"

    def __str__(self) -> str:
        return str(self.number) if self.protocol == "tcp" else f"{self.number}/{self.protocol}"


def parse_ports(texts: Iterable[object]) -> list[Port]:
    """The ports of forms like ``443``, ``7000-7020``, ``8472/udp``, each once, in the order given. Raises PortError."""
    ports: dict[Port, None] = {}
    for text in texts:
        form = _FORM.fullmatch(str(text).strip())
        if not form:
            raise PortError(f"{text!r} is not a port: write 443, 7000-7020 or 8472/udp")
        first, last = int(form[1]), int(form[2] or form[1])
        if not 1 <= first <= last <= 65535:
            raise PortError(f"{text!r} is not a port: ports go from 1 to 65535, and a range from low to high")
        ports.update((Port(number, form[3] or "tcp"), None) for number in range(first, last + 1))
    return list(ports)


def answer_to(question: bytes, token: str, port: Port) -> bytes:
    """The answer that only a listener with the token can give; an echo or a proxy cannot."""
    digest = hmac.new(token.encode(), question + str(port).encode(), hashlib.sha256).hexdigest()
    return digest[: LINE_LENGTH - 1].encode() + b"\n"


def control_name(token: str) -> str:
    """The name of the local socket through which a listener is stopped. It is an abstract one, so there is no file."""
    return "\0fedcloud.oscar.port_probe." + hashlib.sha256(token.encode()).hexdigest()[:32]
