# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: temporary listeners that prove who they are, in one process that ends by itself.

Nothing of it is on disk. A local socket with an abstract name stops the process and gets what it has seen.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from typing import Any, Optional

from .capture import Capture
from .holder import NOBODY, holder
from .ports import LINE, LINE_LENGTH, Port, PortError, answer_to, control_name

_CONNECTIONS = 256


class Listener:
    """Listens on those of the ports that are free.

    ``ports`` says for each who holds it, ``capture`` whether packets are seen.
    """

    def __init__(self, ports: Iterable[Port], token: str) -> None:
        self.token = token
        self.ports: dict[str, dict[str, Any]] = {}
        self._control = _control_socket(token)
        self._open: list[tuple[Port, socket.socket]] = []
        for port in ports:
            self.ports[str(port)] = self._listen(port)
        self._capture: Optional[Capture] = None
        with contextlib.suppress(OSError):  # not root, or not Linux: then some causes stay unknown
            self._capture = Capture(ports)
        self._selector: selectors.BaseSelector
        self._connections = 0
        self._stopped = False

    @property
    def capture(self) -> bool:
        return self._capture is not None

    def _listen(self, port: Port) -> dict[str, Any]:
        try:
            self._open.append((port, _bound(port)))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return {"listener": "other", **holder(port)}
            return {"listener": "none", **NOBODY, "error": os.strerror(error.errno or 0)}
        return {"listener": "ours", **NOBODY}

    def serve(self, lifetime: float) -> None:
        """Answer until the lifetime (seconds) is over or a client of the control socket has taken the report."""
        self._selector = selectors.DefaultSelector()
        self._watch(self._control, self._report)
        if self._capture:
            self._watch(self._capture.socket, lambda _socket: self._capture and self._capture.read())
        for port, listening in self._open:
            self._watch(listening, self._accept(port) if port.protocol == "tcp" else self._echo(port))
        end = time.monotonic() + lifetime
        while not self._stopped and time.monotonic() < end:
            for key, _events in self._selector.select(end - time.monotonic()):
                with contextlib.suppress(OSError):  # a client that went away
                    key.data(key.fileobj)

    def close(self) -> None:
        """Let go of all sockets."""
        for opened in (
            self._control,
            *(one for _port, one in self._open),
            *([self._capture.socket] if self._capture else []),
        ):
            opened.close()

    def _watch(self, watched: socket.socket, action: Callable[[socket.socket], Any]) -> None:
        watched.setblocking(False)
        self._selector.register(watched, selectors.EVENT_READ, action)

    def _accept(self, port: Port) -> Callable[[socket.socket], None]:
        def answer(connection: socket.socket) -> None:
            self._selector.unregister(connection)
            self._connections -= 1
            with connection:
                question = connection.recv(LINE_LENGTH)
                if LINE.fullmatch(question):
                    connection.send(answer_to(question, self.token, port))

        def accept(listening: socket.socket) -> None:
            connection, _address = listening.accept()
            if self._connections >= _CONNECTIONS:
                connection.close()
                return
            self._connections += 1
            self._watch(connection, answer)

        return accept

    def _echo(self, port: Port) -> Callable[[socket.socket], None]:
        def answer(listening: socket.socket) -> None:
            question, address = listening.recvfrom(LINE_LENGTH + 1)
            if LINE.fullmatch(question):
                listening.sendto(answer_to(question, self.token, port), address)

        return answer

    def _report(self, control: socket.socket) -> None:
        connection, _address = control.accept()
        with connection:
            _pid, user, _group = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if user not in (0, os.geteuid()):
                return
            if self._capture:
                self._capture.read()
            packets = sorted(self._capture.packets) if self._capture else []
            report = {"ports": self.ports, "capture": self.capture, "packets": [packet._asdict() for packet in packets]}
            connection.setblocking(True)
            connection.sendall(json.dumps(report).encode())
            self._stopped = True


def start(ports: Iterable[Port], token: str, lifetime: int) -> dict[str, Any]:
    """Start listeners in a process of their own; who holds each port. Raises PortError."""
    listener = Listener(ports, token)
    child = os.fork()
    if child == 0:
        _become_daemon(lambda: listener.serve(lifetime))
    os.waitpid(child, 0)
    listener.close()  # the other process has them, too
    return {"ports": listener.ports, "capture": listener.capture}


def stop(token: str) -> Optional[dict[str, Any]]:
    """Stop the listeners; what they have seen. None if there are none (any more)."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        try:
            client.connect(control_name(token))
            text = b"".join(iter(lambda: client.recv(65536), b""))
        except OSError:
            return None
    if not text:
        raise PortError("the listeners were started by another user; stop them as that user or as root")
    report: dict[str, Any] = json.loads(text)
    return report


def _control_socket(token: str) -> socket.socket:
    control = socket.socket(socket.AF_UNIX)
    try:
        control.bind(control_name(token))
    except OSError as error:
        control.close()
        raise PortError("listeners with this token run already; stop them first, or use another token") from error
    control.listen()
    return control


def _bound(port: Port) -> socket.socket:
    """A socket that listens on the port at all addresses, of IPv6 too where there is IPv6. Raises OSError."""
    try:
        created = socket.socket(socket.AF_INET6, socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM)
    except OSError:
        created, any_address = (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM),
            "",
        )
    else:
        created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        any_address = "::"
    try:
        if port.protocol == "tcp":  # of UDP it would share the port
            created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        created.bind((any_address, port.number))
        if port.protocol == "tcp":
            created.listen()
    except OSError:
        created.close()
        raise
    return created


def _become_daemon(work: Callable[[], None]) -> None:
    """In a child process: let go of the session and of its input and output, work, and end without a trace."""
    try:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            os.chdir("/")
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nowhere, stream)
            work()
    finally:
        os._exit(0)
