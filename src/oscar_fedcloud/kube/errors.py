# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with a request to the Kubernetes API."""

from __future__ import annotations

import msgspec

from oscar_fedcloud.config import ConfigError


class KubeConfigError(ConfigError):
    """There is no usable access to a cluster; the message names the file and what is wrong with it."""


class KubeError(Exception):
    """The API server refused a request. status: of HTTP. reason: its word for it, e.g. ``AlreadyExists``."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class KubeUnavailable(KubeError):
    """No answer, or one (5xx, 429) that leaves open whether the request was carried out; to be tried again."""


class ApiStatus(msgspec.Struct, frozen=True):
    """The object that stands in the body of an answer that is no success."""

    code: int = 0
    reason: str = ""
    message: str = ""


def error_of(method: str, path: str, status: int, body: bytes) -> KubeError:
    """The exception for an answer that is no success."""
    try:
        told = msgspec.json.decode(body, type=ApiStatus)
    except msgspec.MsgspecError:
        told = ApiStatus(message=body[:200].decode(errors="replace").strip())
    kind = KubeUnavailable if status >= 500 or status == 429 else KubeError
    return kind(status, told.reason, told.message or f"{method} {path} was answered with HTTP status {status}")
