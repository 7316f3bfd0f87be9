# SPDX-License-Identifier: Apache-2.0
"""What the dispatcher must know of a service, and how an attempt keeps that of the revision that began it."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from oscar_fedcloud.fdl import Retry

INFRASTRUCTURE_BACKOFF, INFRASTRUCTURE_BACKOFF_MAX = 2.0, 300.0  # s after the loss of a node or process, and at most


@dataclass(frozen=True, slots=True)
class Policy:
    """What the dispatcher must know of a service. room: how many Jobs may run at once, 0 = no limit of its own."""

    room: int
    retry: Retry
    callback: str

    @property
    def longest_wait(self) -> float:
        """Seconds for which a run may have to wait after a failure."""
        return max(INFRASTRUCTURE_BACKOFF_MAX, self.retry.backoff_max)


class _Kept(msgspec.Struct):
    attempts: int
    backoff: float
    backoff_max: float
    infrastructure: int
    callback: str


def kept(policy: Policy) -> str:
    """Return the text that an attempt keeps of the policy under which it is begun."""
    retry = policy.retry
    values = _Kept(retry.attempts, retry.backoff, retry.backoff_max, retry.infrastructure, policy.callback)
    return msgspec.json.encode(values).decode()


def of_kept(text: str) -> Policy | None:
    """Return the policy in such a text, or None if there is none in it."""
    try:
        found = msgspec.json.decode(text, type=_Kept)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, TypeError):
        return None
    retry = Retry(found.attempts, found.backoff, found.backoff_max, found.infrastructure)
    return Policy(0, retry, found.callback)
