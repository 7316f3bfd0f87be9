# SPDX-License-Identifier: Apache-2.0
"""Errors of requests to the Kubernetes API."""

from __future__ import annotations

import msgspec

from oscar_fedcloud.config import ConfigError


class KubeConfigError(ConfigError):
    """The access to a cluster is not usable. The message names the file and the problem."""


class KubeError(Exception):
    """The API server refused a request. status: HTTP status. reason: Kubernetes reason, e.g. ``AlreadyExists``."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


class KubeUnavailable(KubeError):
    """No answer, or one (5xx, 429) that leaves open whether the request was executed. It may be retried."""


class ApiStatus(msgspec.Struct, frozen=True):
    """The body of an error answer."""

    code: int = 0
    reason: str = ""
    message: str = ""


def error_of(method: str, path: str, status: int, body: bytes) -> KubeError:
    """Return the exception for an error answer."""
    try:
        told = msgspec.json.decode(body, type=ApiStatus)
    except msgspec.MsgspecError:
        told = ApiStatus(message=body[:200].decode(errors="replace").strip())
    kind = KubeUnavailable if status >= 500 or status == 429 else KubeError
    return kind(status, told.reason, told.message or f"{method} {path} was answered with HTTP status {status}")
