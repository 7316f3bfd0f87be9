# SPDX-License-Identifier: Apache-2.0
"""How a store is reached: its address, TLS, time limits and repeats."""

from __future__ import annotations

import os
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import certifi
from urllib3 import BaseHTTPResponse, PoolManager, Retry, Timeout

_CONNECTIONS = 16


class HostAndScheme(NamedTuple):
    """An endpoint URL as the MinIO client wants it."""

    host: str
    secure: bool

    @classmethod
    def of(cls, endpoint: str) -> HostAndScheme:
        """Raises ValueError for anything but ``http(s)://host[:port]``."""
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.netloc or url.path not in ("", "/") or "@" in url.netloc:
            raise ValueError(f"endpoint {endpoint!r} is not of the form http(s)://host[:port]")
        return cls(url.netloc, url.scheme == "https")


class _XmlPool(PoolManager):
    """Connections to S3. Some servers, such as rclone, call errors text/xml, which the client does not read."""

    def urlopen(self, *args: Any, **kwargs: Any) -> BaseHTTPResponse:
        response = super().urlopen(*args, **kwargs)
        if response.status >= 400 and response.headers.get("Content-Type", "").startswith("text/xml"):
            response.headers["Content-Type"] = "application/xml"
        return response


def pool_manager(verify: bool | str, patience: float = 60.0, repeats: int = 2) -> PoolManager:
    """HTTP connections with time limits.

    verify: False, True (the system's bundle) or the path of a CA bundle. patience: seconds until a part of an answer
    must come; the default is long because a server may read a large file before it answers.
    """
    bundle = verify if isinstance(verify, str) else os.environ.get("SSL_CERT_FILE") or certifi.where()
    return _XmlPool(
        timeout=Timeout(connect=min(5.0, patience), read=patience),
        maxsize=_CONNECTIONS,
        cert_reqs="CERT_REQUIRED" if verify else "CERT_NONE",
        ca_certs=bundle,
        retries=Retry(
            total=repeats,
            backoff_factor=0.1,
            status_forcelist=(500, 502, 503, 504),
            respect_retry_after_header=False,  # MinIO that just starts says 60 s; those who ask repeat sooner
        ),
    )
