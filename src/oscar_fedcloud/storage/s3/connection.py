# SPDX-License-Identifier: Apache-2.0
"""Connect to a store: TLS, time limits, retries, and limits of answers."""

from __future__ import annotations

import io
import os
import time
from typing import Any

import certifi
from urllib3 import BaseHTTPResponse, HTTPResponse, PoolManager, Retry, Timeout
from urllib3.exceptions import HTTPError

_CONNECTIONS = 16
_LONGEST_ANSWER = 64 * 1024 * 1024  # bytes; a page of a listing has at most a few megabytes
_WHOLE_ANSWER = 120.0  # s within which an answer must be complete, even if data arrives steadily
_CHUNK = 256 * 1024


class AnswerError(HTTPError):
    """An answer is too large, too slow or in a form that was not requested."""


class _Pool(PoolManager):
    """Connections to S3 with limited answers and without redirections."""

    def urlopen(self, *args: Any, preload_content: bool = True, **kwargs: Any) -> BaseHTTPResponse:
        kwargs["redirect"] = False  # a store has one address, and signatures are valid for no other
        response = super().urlopen(*args, preload_content=False, **kwargs)
        # Some servers, such as rclone, send errors as text/xml, which the client does not parse.
        if response.status >= 400 and response.headers.get("Content-Type", "").startswith("text/xml"):
            response.headers["Content-Type"] = "application/xml"
        return _whole(response) if preload_content else response


def _whole(response: BaseHTTPResponse) -> BaseHTTPResponse:
    """Read the whole response into memory. Raises AnswerError."""
    try:
        body = _read(response)
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return HTTPResponse(
        body=io.BytesIO(body),
        headers=response.headers,
        status=response.status,
        reason=response.reason,
        version=response.version,
        decode_content=False,
    )


def _read(response: BaseHTTPResponse) -> bytes:
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise AnswerError(f"the answer is compressed ({encoding[:20]!r}), which was not requested")
    end = time.monotonic() + _WHOLE_ANSWER
    chunks: list[bytes] = []
    size = 0
    while chunk := response.read1(_CHUNK, decode_content=False):
        chunks.append(chunk)
        size += len(chunk)
        if size > _LONGEST_ANSWER:
            raise AnswerError(f"the answer is larger than {_LONGEST_ANSWER} bytes")
        if time.monotonic() > end:
            raise AnswerError(f"the answer did not end within {_WHOLE_ANSWER:.0f} s")
    return b"".join(chunks)


def pool_manager(verify: bool | str, patience: float = 60.0, repeats: int = 2) -> PoolManager:
    """Create HTTP connections with time limits.

    Args:
        verify: False, True (the system's bundle) or the path of a CA bundle
        patience: seconds to wait for each part of an answer; the default is long because a server may read a large
            file before it answers
        repeats: how often a failed request is retried
    """
    bundle = verify if isinstance(verify, str) else os.environ.get("SSL_CERT_FILE") or certifi.where()
    return _Pool(
        timeout=Timeout(connect=min(5.0, patience), read=patience),
        maxsize=_CONNECTIONS,
        cert_reqs="CERT_REQUIRED" if verify else "CERT_NONE",
        ca_certs=bundle,
        retries=Retry(
            total=repeats,
            backoff_factor=0.1,
            status_forcelist=(500, 502, 503, 504),
            respect_retry_after_header=False,  # a starting MinIO says 60 s; callers retry sooner
        ),
    )
