# SPDX-License-Identifier: Apache-2.0
"""The interface of a cloud. Each cloud is one class in one file of this folder.

A machine is identified by its name, which the autoscaler chooses before requesting it and which is also the name of its
Kubernetes node. So nothing is duplicated or lost if an answer is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

MachineState = Literal["creating", "running", "stopped", "failed", "deleting"]


class CloudError(Exception):
    """The cloud refused a request; nothing of it was executed. The message says what and why."""


class NoRoom(CloudError):
    """The cloud has no capacity or no quota for this now. Another pool may have."""


class CloudUnavailable(CloudError):
    """The cloud did not answer, or it is unknown whether the request was executed; ``machines`` shows it."""


def provider_id(cluster: str, name: str) -> str:
    """Return the ``spec.providerID`` of a machine's node, which is set before the cloud has assigned an id."""
    return f"oscar://{cluster}/{name}"


@dataclass(frozen=True, slots=True)
class MachineRequest:
    """One machine to create.

    Attributes:
        user_data: a complete ``#cloud-config`` document, neither a script nor multipart, because IM merges its own key
            into it. It holds a bootstrap token and is never logged.
        again: the machine was requested before with an unknown outcome. A cloud that may still be executing the former
            request raises CloudUnavailable, so that no machine is created twice.
    """

    name: str
    pool: str
    template: Mapping[str, Any] = field(repr=False)  # the pool's ``template``, checked by ``check``
    user_data: str = field(repr=False)
    again: bool = False


@dataclass(frozen=True, slots=True)
class CloudMachine:
    """A machine as its cloud reports it.

    Two machines of one name can only result from a request whose answer was lost. All but the one whose node joined are
    to be deleted.
    """

    id: str  # assigned by the cloud
    name: str
    pool: str  # with which it was created
    state: MachineState
    provider_id: str = ""  # ``spec.providerID`` of its node
    address: str = ""
    reason: str = ""  # why it failed, for people
    created: float = 0.0  # seconds since the epoch; 0.0 if unknown


@dataclass(frozen=True, slots=True)
class Headroom:
    """How many more machines of one template the quota allows; None if the cloud cannot tell."""

    machines: int | None
    reason: str = ""  # the limiting resource, e.g. "cores: 38 of 40 used"


class Cloud(Protocol):
    """An account at a cloud. Methods are called from one event loop, several concurrently."""

    name: str
    can_stop: bool

    def check(self, template: Mapping[str, Any]) -> list[str]:
        """Return the problems of a pool's template, each a sentence naming the field, the value and the remedy."""

    async def open(self) -> None:
        """Connect. Raises CloudError if the credentials or the address are wrong."""

    async def close(self) -> None:
        """Close all connections."""

    async def machines(self) -> list[CloudMachine]:
        """Return all machines of this cluster, consistent with all previous answers. Raises CloudError."""

    async def create(self, requests: Sequence[MachineRequest]) -> dict[str, str]:
        """Request machines of one pool in one batch. Returns name -> error of those that the cloud refused.

        Returns when the cloud has accepted the requests, not when the machines run. An existing name is no error and
        creates nothing. Raises NoRoom or CloudError (none was created), or CloudUnavailable (the outcome is unknown).
        """

    async def delete(self, ids: Collection[str]) -> None:
        """Delete machines in one batch. Unknown ids are no error. Raises CloudError, CloudUnavailable."""

    async def stop(self, ids: Collection[str]) -> None:
        """Stop machines so that ``start`` can start them again. Only if ``can_stop``."""

    async def start(self, ids: Collection[str]) -> None:
        """Start stopped machines."""

    async def headroom(self, template: Mapping[str, Any]) -> Headroom:
        """Return what the quota allows. Raises CloudError."""

    def expires(self) -> float | None:
        """Return when the credentials expire (s since the epoch), or None for never or unknown."""
