# SPDX-License-Identifier: Apache-2.0
"""What a cloud does for the autoscaler. A further cloud is one class in one file of this folder.

A machine is known by its name, which we choose before we ask for it and which is also the name of its Kubernetes node:
so nothing is doubled or forgotten when an answer gets lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

MachineState = Literal["creating", "running", "stopped", "failed", "deleting"]


class CloudError(Exception):
    """The cloud refused; the message says what and why. Nothing of the request was carried out."""


class NoRoom(CloudError):
    """The cloud has no capacity or no quota for this now; another pool may have."""


class CloudUnavailable(CloudError):
    """No answer, or none that says whether the request was carried out: ``machines`` tells."""


def provider_id(cluster: str, name: str) -> str:
    """What the kubelet of a machine is told to be its ``spec.providerID``, before the cloud has given an id."""
    return f"oscar://{cluster}/{name}"


@dataclass(frozen=True, slots=True)
class MachineRequest:
    """One machine to create.

    user_data: a whole ``#cloud-config`` document (IM merges its own key into it, so no script and no multipart);
    it holds a bootstrap token and is never logged. again: it was asked for before and nobody knows what came of it; a
    cloud that may still be at work on that waits (CloudUnavailable), so that no machine is made twice.
    """

    name: str
    pool: str
    template: Mapping[str, Any] = field(repr=False)  # the pool's ``template``, checked by ``check``
    user_data: str = field(repr=False)
    again: bool = False


@dataclass(frozen=True, slots=True)
class CloudMachine:
    """One machine as its cloud sees it.

    id: the cloud's own. pool: as it was created with. provider_id: what ``spec.providerID`` of its node is. reason: why
    it failed, for people. created: seconds since the epoch; 0.0 = not told. Two machines of one name can only come from
    a request whose answer got lost; all but the one whose node joined are to be deleted.
    """

    id: str
    name: str
    pool: str
    state: MachineState
    provider_id: str = ""
    address: str = ""
    reason: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Headroom:
    """How many more machines of one template the quota lets; None = the cloud cannot tell."""

    machines: int | None
    reason: str = ""  # what is short, e.g. "cores: 38 of 40 used"


class Cloud(Protocol):
    """One account at one place. Methods are called from one event loop, several at a time."""

    name: str
    can_stop: bool

    def check(self, template: Mapping[str, Any]) -> list[str]:
        """What is wrong with a pool's template, each a sentence that names the field, the value and what is right."""

    async def open(self) -> None:
        """Connect. Raises CloudError when the credentials or the place are wrong."""

    async def close(self) -> None:
        """Let go of all connections."""

    async def machines(self) -> list[CloudMachine]:
        """All machines of this cluster, consistent with all that was answered before. Raises CloudError."""

    async def create(self, requests: Sequence[MachineRequest]) -> dict[str, str]:
        """Ask for machines of one pool in one batch; name -> error of those that the cloud refused.

        Returns when the cloud has taken the requests up, not when machines run. A name that exists already is no
        error and creates nothing. Raises NoRoom, CloudError (none was created) or CloudUnavailable (nobody knows).
        """

    async def delete(self, ids: Collection[str]) -> None:
        """Delete machines, in one batch; those that are gone are no error. Raises CloudError, CloudUnavailable."""

    async def stop(self, ids: Collection[str]) -> None:
        """Stop machines so that ``start`` brings them back. Only where ``can_stop``."""

    async def start(self, ids: Collection[str]) -> None:
        """Start stopped machines."""

    async def headroom(self, template: Mapping[str, Any]) -> Headroom:
        """What the quota lets. Raises CloudError."""

    def expires(self) -> float | None:
        """When the credentials in use end, seconds since the epoch; None = never, or not known."""
