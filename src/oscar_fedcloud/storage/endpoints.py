# SPDX-License-Identifier: Apache-2.0
"""Addresses of stores."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit


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
