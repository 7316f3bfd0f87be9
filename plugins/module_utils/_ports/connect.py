# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: tries ports of other machines, and asks whether our own listener answers."""

from __future__ import annotations

import hmac
import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .ports import LINE_LENGTH, Port, PortError, answer_to

_AT_ONCE = 128


def probe(hosts: Mapping[str, str], ports: Iterable[Port], token: str, timeout: float) -> dict[str, dict[str, Any]]:
    """What became of a connection to each port of each host (name to address). Raises PortError.

    ``timeout``, in seconds, is for each connection; many are tried at once.
    """
    places = {name: _resolve(name, address) for name, address in hosts.items()}
    tasks = [(name, port) for name in hosts for port in ports]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        results = list(pool.map(lambda task: _try(places[task[0]], task[1], token, timeout), tasks))
    found: dict[str, dict[str, Any]] = {name: {} for name in hosts}
    for (name, port), result in zip(tasks, results):
        found[name][str(port)] = result
    return found


def _resolve(name: str, address: str) -> tuple[socket.AddressFamily, str]:
    try:
        family, _type, _protocol, _name, place = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise PortError(f"the address of {name}, {address!r}, is not known here: {error.strerror}") from error
    return family, str(place[0])


def _try(place: tuple[socket.AddressFamily, str], port: Port, token: str, timeout: float) -> dict[str, Any]:
    family, address = place
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as probing:
        probing.settimeout(timeout)
        # Bound first, so that the number is known also of a connection that fails: the other end looks for it.
        probing.bind(("", 0))
        result = {"state": "open", "answer": "none", "source_port": probing.getsockname()[1], "error": ""}
        try:
            probing.connect((address, port.number))
        except OSError as error:
            return {**result, "state": _state(error), "error": _text(error)}
        try:
            answer = _ask(probing, port, token, timeout)
        except OSError as error:
            state = _state(error) if port.protocol == "udp" else "open"
            return {**result, "state": state, "error": _text(error)}
    return {**result, "answer": answer}


def _ask(probing: socket.socket, port: Port, token: str, timeout: float) -> str:
    """Who answers a question: ``ours``, ``other``, ``none`` (it hung up)."""
    question = secrets.token_hex((LINE_LENGTH - 1) // 2).encode() + b"\n"
    expected = answer_to(question, token, port)
    if port.protocol == "udp":
        answer = _ask_thrice(probing, question, timeout)
    else:
        probing.sendall(question)
        answer = b""
        while len(answer) < len(expected) and expected.startswith(answer):
            received = probing.recv(len(expected) - len(answer))
            if not received:
                break
            answer += received
    if not answer:
        return "none"
    return "ours" if hmac.compare_digest(answer, expected) else "other"


def _ask_thrice(probing: socket.socket, question: bytes, timeout: float) -> bytes:
    """The answer over UDP, which may lose any packet."""
    probing.settimeout(timeout / 3)
    for left in (2, 1, 0):
        probing.send(question)
        try:
            return probing.recv(LINE_LENGTH + 1)
        except socket.timeout:
            if not left:
                raise
    raise AssertionError("not reached")


def _state(error: OSError) -> str:
    return "refused" if isinstance(error, ConnectionRefusedError) else "filtered"


def _text(error: OSError) -> str:
    if isinstance(error, socket.timeout):
        return "no answer"
    return os.strerror(error.errno).lower() if error.errno else str(error)
