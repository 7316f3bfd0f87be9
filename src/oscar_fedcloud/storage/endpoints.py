# SPDX-License-Identifier: Apache-2.0
"""Endpoint URLs of stores."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


class HostAndScheme(NamedTuple):
    """An endpoint URL in the form that the MinIO client expects."""

    host: str
    secure: bool

    @classmethod
    def of(cls, endpoint: str) -> HostAndScheme:
        """Parse an endpoint. Raises ValueError unless it is ``http(s)://host[:port]``."""
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.netloc or url.path not in ("", "/") or "@" in url.netloc:
            raise ValueError(f"endpoint {endpoint!r} is not of the form http(s)://host[:port]")
        return cls(url.netloc, url.scheme == "https")
