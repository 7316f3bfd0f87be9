# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: which probes reach this machine, seen before its own firewall and after it.

A packet socket gets incoming packets before netfilter and outgoing ones after it. A probe that is seen coming in and
never answered was stopped on this machine; one that is never seen was stopped before it.
"""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple, Optional

from .ports import LINE_LENGTH, Port

_ALL_PROTOCOLS = 3  # ETH_P_ALL; narrower ones do not show outgoing packets
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER
_SYN, _ACK = 0x02, 0x10
_TCP, _UDP = 6, 17
_UDP_LENGTH = 8 + LINE_LENGTH


class Packet(NamedTuple):
    """The start of a connection to ``port``, or our question to it; with ``outgoing``, the answer from it."""

    port: str
    outgoing: bool
    source: str
    destination: str
    peer_port: int


class Capture:
    """What is seen of some ports. Needs the right to open packet sockets, which root has; else raises OSError."""

    def __init__(self, ports: Iterable[Port], limit: int = 20_000) -> None:
        self.ports = frozenset(ports)
        self.limit = limit
        self.packets: set[Packet] = set()
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL_PROTOCOLS))
        self.socket.setblocking(False)
        _attach(self.socket, _filter(sorted({port.number for port in self.ports})))

    def read(self) -> None:
        """Take what has arrived."""
        while True:
            try:
                data, address = self.socket.recvfrom(256)
            except BlockingIOError:
                return
            packet = parse(data, address[2] == socket.PACKET_OUTGOING, self.ports)
            if packet and len(self.packets) < self.limit:
                self.packets.add(packet)


def parse(data: bytes, outgoing: bool, ports: Iterable[Port]) -> Optional[Packet]:
    """What an IP packet is to us; None if nothing."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        protocol, start, addresses = data[9], 4 * (data[0] & 15), (data[12:16], data[16:20])
    elif version == 6 and len(data) >= 40:
        protocol, start, addresses = data[6], 40, (data[8:24], data[24:40])
    else:
        return None
    head = data[start : start + 14]
    if len(head) < (14 if protocol == _TCP else 8):
        return None
    source_port, destination_port, udp_length = struct.unpack_from("!HHH", head)
    if protocol == _TCP:
        name, ours = "tcp", head[13] & (_SYN | _ACK) == (_SYN | _ACK if outgoing else _SYN)
    else:
        name, ours = "udp", protocol == _UDP and udp_length == _UDP_LENGTH
    port, peer = (source_port, destination_port) if outgoing else (destination_port, source_port)
    if not ours or Port(port, name) not in ports:
        return None
    source, destination = (str(ipaddress.ip_address(address)) for address in addresses)
    return Packet(str(Port(port, name)), outgoing, source, destination, peer)


def _filter(numbers: Iterable[int]) -> list[tuple[int, int, int, int]]:
    """A classic BPF program, so that a busy machine's other traffic stays in the kernel.

    It keeps TCP with the flag SYN, and UDP as long as a question, from or to one of the ports. Each line is operation,
    jump if true, jump if false, operand. The packet starts with its IP header.
    """
    load_byte, load_half, load_byte_x, load_half_x = 0x30, 0x28, 0x50, 0x48
    equal, any_bit, accept, reject = 0x15, 0x45, (0x06, 0, 0, 256), (0x06, 0, 0, 0)
    program = [
        (load_byte, 0, 0, 0),
        (0x74, 0, 0, 4),  # A = version
        (equal, 0, 5, 4),
        (load_half, 0, 0, 6),
        (any_bit, 7, 0, 0x1FFF),  # not the first fragment
        (0xB1, 0, 0, 0),  # X = length of the IPv4 header
        (load_byte, 0, 0, 9),
        (0x05, 0, 0, 5),
        (equal, 0, 3, 6),
        (0x01, 0, 0, 40),  # X = length of the IPv6 header
        (load_byte, 0, 0, 6),
        (0x05, 0, 0, 1),
        reject,
        (equal, 0, 3, _TCP),
        (load_byte_x, 0, 0, 13),
        (any_bit, 5, 0, _SYN),
        reject,
        (equal, 0, 2, _UDP),
        (load_half_x, 0, 0, 4),
        (equal, 1, 0, _UDP_LENGTH),
        reject,
    ]
    for offset in (2, 0):  # destination port, source port
        program.append((load_half_x, 0, 0, offset))
        for number in numbers:
            program += [(equal, 0, 1, number), accept]
    return [*program, reject]


def _attach(packet_socket: socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    lines = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(lines)
    packet_socket.setsockopt(
        socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(buffer))
    )
