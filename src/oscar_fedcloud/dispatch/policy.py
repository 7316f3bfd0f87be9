# SPDX-License-Identifier: Apache-2.0
"""The settings of a service that the dispatcher uses, and how an attempt stores those it was started with."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from oscar_fedcloud.fdl import Retry

INFRASTRUCTURE_BACKOFF, INFRASTRUCTURE_BACKOFF_MAX = 2.0, 300.0  # s after the loss of a node or process, and at most


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of a service that the dispatcher uses.

    Attributes:
        concurrency: the number of Jobs that may run at the same time; 0 means no limit of its own.
    """

    concurrency: int
    retry: Retry
    callback: str

    @property
    def longest_wait(self) -> float:
        """The longest time in seconds that a run may have to wait after a failure."""
        return max(INFRASTRUCTURE_BACKOFF_MAX, self.retry.backoff_max)


class _PolicyRecord(msgspec.Struct):
    attempts: int
    backoff: float
    backoff_max: float
    infrastructure: int
    callback: str


def encode_policy(policy: Policy) -> str:
    """Return the policy as text, as it is stored with an attempt."""
    retry = policy.retry
    values = _PolicyRecord(retry.attempts, retry.backoff, retry.backoff_max, retry.infrastructure, policy.callback)
    return msgspec.json.encode(values).decode()


def decode_policy(text: str) -> Policy | None:
    """Return the policy stored in this text, or None if the text is not valid."""
    try:
        found = msgspec.json.decode(text, type=_PolicyRecord)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError):
        return None
    retry = Retry(found.attempts, found.backoff, found.backoff_max, found.infrastructure)
    return Policy(0, retry, found.callback)
