# SPDX-License-Identifier: Apache-2.0
"""An S3 server that answers with what a test wrote by hand: strange listings, or what is no S3 at all."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable, Sequence

Answer = bytes | Callable[[str], bytes]

_FIXED = {
    "garbage": (b"<a>b", ""),
    "gzip": (gzip.compress(b"0" * 1_000_000), "Content-Encoding: gzip\r\n"),
    "empty": (b"", ""),
}


def listing_row(key: str, modified: str = "2026-11-24T06:20:23.696Z", size: str = "3", etag: str = "abc") -> str:
    """A row as a server writes it; nothing is escaped."""
    return (
        f"<Contents><Key>{key}</Key><LastModified>{modified}</LastModified>"
        f"<Size>{size}</Size><ETag>&quot;{etag}&quot;</ETag></Contents>"
    )


def listing(*rows: str, more: str = "", encoded: bool = True) -> bytes:
    """A page of a listing. more: the token of the next page."""
    heads = "<EncodingType>url</EncodingType>" if encoded else ""
    if more:
        heads += f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>"
    return f"<ListBucketResult>{heads}{''.join(rows)}</ListBucketResult>".encode("utf-8", "surrogatepass")


class HostileS3:
    """Serves on loopback while it is entered.

    answers: the name of a fault, or bodies: the last one is given again and again. A body that is a function gets the
    request line. ``hold`` makes the server take requests and answer none.
    """

    def __init__(self, answers: str | Sequence[Answer] = (), hold: bool = False) -> None:
        self.fault = answers if isinstance(answers, str) else ""
        self.answers: list[Answer] = [] if isinstance(answers, str) else list(answers)
        self.hold = threading.Event()
        if not hold:
            self.hold.set()
        self.requests: list[str] = []
        self.followed = False
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> HostileS3:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hold.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                head = self._head(connection)
                self.hold.wait()
                connection.sendall(self._response(head.partition("\r\n")[0]))
            except OSError:
                return

    def _head(self, connection: socket.socket) -> str:
        data = b""
        while b"\r\n\r\n" not in data:
            part = connection.recv(65536)
            if not part:
                raise OSError("the client went away")
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        text = head.decode("latin-1")
        lengths = [line for line in text.split("\r\n") if line.lower().startswith("content-length:")]
        left = int(lengths[0].split(":")[1]) - len(body) if lengths else 0
        while left > 0 and (part := connection.recv(65536)):
            left -= len(part)
        self.requests.append(text.partition("\r\n")[0])
        self.followed |= "/followed" in text
        return text

    def _response(self, line: str) -> bytes:
        if self.fault == "closed":
            return b""
        if self.fault == "not-http":
            return b"SSH-2.0-OpenSSH_9.2\r\n"
        if self.fault == "short":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<a/>"
        if self.fault == "redirect":
            return b"HTTP/1.1 307 Go\r\nLocation: %b/followed\r\nContent-Length: 0\r\n\r\n" % self.endpoint.encode()
        if self.fault:
            body, headers = _FIXED[self.fault]
            return _http(body, headers)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if line.startswith("GET") and "versioning" in line:
            return _http(b"<VersioningConfiguration/>")
        return _http(answer(line) if callable(answer) else answer)


def _http(body: bytes, headers: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n".encode() + body
