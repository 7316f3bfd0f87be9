# SPDX-License-Identifier: Apache-2.0
"""The requested machines, recorded as OscarMachine objects before a cloud is called.

The leader is their only writer and also keeps them in memory: each decision sees what the previous one requested,
however far a watch lags behind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from oscar_fedcloud.autoscaler.model import MachinePhase, MachineView
from oscar_fedcloud.autoscaler.names import API_VERSION, KIND, MACHINES, POOL_LABEL
from oscar_fedcloud.kube import KubeClient, KubeError

_REASON = 1000  # characters of a reason that are stored


class MachineStore:
    """All OscarMachine objects, kept in memory as they are in the cluster."""

    def __init__(self, client: KubeClient) -> None:
        self.client = client
        self._views: dict[str, MachineView] = {}
        self._clouds: dict[str, str] = {}

    def views(self) -> Mapping[str, MachineView]:
        """Return a copy of the current machines by name."""
        return dict(self._views)

    def get(self, name: str) -> MachineView | None:
        """Return a machine, or None."""
        return self._views.get(name)

    def cloud_of(self, name: str) -> str:
        """Return the cloud from which a machine was requested. Its pool may have moved to another one since."""
        return self._clouds.get(name, "")

    async def load(self) -> None:
        """Read all objects consistently. Raises KubeError and changes nothing then."""
        objects = await self.client.list_objects(MACHINES)
        self._views = {view.name: view for view in map(view_of, objects)}
        self._clouds = {each["metadata"]["name"]: each["spec"]["cloud"] for each in objects}

    async def refresh(self, busy: Collection[str]) -> None:
        """Add unknown objects, and drop machines whose objects were deleted, except busy ones. Raises KubeError.

        This recovers objects whose creation succeeded although the answer was lost.
        """
        known = set(self._views) - set(busy)
        objects = {each["metadata"]["name"]: each for each in await self.client.list_objects(MACHINES)}
        for name in known - objects.keys() - set(busy):
            self.forget(name)
        for name in objects.keys() - self._views.keys() - set(busy):
            self.expect(view_of(objects[name]), objects[name]["spec"]["cloud"])

    def expect(self, view: MachineView, cloud: str) -> None:
        """Count a machine from now on while its object is being written."""
        self._views[view.name] = view
        self._clouds[view.name] = cloud

    async def create(self, name: str) -> None:
        """Write the object of an expected machine. Raises KubeError; the machine is no longer expected then."""
        view = self._views[name]
        try:
            await self.client.create(MACHINES, body_of(view, self._clouds[name]))
        except KubeError as error:
            if error.status != 409:  # it exists already: a repetition
                self.forget(name)
                raise

    async def set_phase(
        self, name: str, phase: MachinePhase, now: float, *, reason: str = "", cloud_id: str | None = None
    ) -> None:
        """Write a machine's phase. Raises KubeError; its phase is unchanged then."""
        view = self._views[name]
        changed = replace(
            view,
            phase=phase,
            since=now,
            reason=reason[:_REASON],
            cloud_id=view.cloud_id if cloud_id is None else cloud_id,
        )
        await self._write_status(changed)

    async def set_cloud_id(self, name: str, cloud_id: str) -> None:
        """Record the cloud's id of a machine. Raises KubeError."""
        await self._write_status(replace(self._views[name], cloud_id=cloud_id))

    async def _write_status(self, view: MachineView) -> None:
        status = {
            "phase": view.phase,
            "since": _written(view.since),
            "reason": view.reason,
            "cloudId": view.cloud_id,
        }
        await self.client.patch(MACHINES, view.name, {"status": status}, "status")
        self._views[view.name] = view

    async def delete(self, name: str) -> None:
        """Delete a machine's object. Raises KubeError."""
        await self.client.delete(MACHINES, name)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Stop counting a machine."""
        self._views.pop(name, None)
        self._clouds.pop(name, None)


def body_of(view: MachineView, cloud: str) -> dict[str, Any]:
    """Return the object of a requested machine."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": view.name, "labels": {POOL_LABEL: view.pool}},
        "spec": {"pool": view.pool, "cloud": cloud},
    }


def view_of(document: Mapping[str, Any]) -> MachineView:
    """Return the machine that an object describes."""
    metadata, spec, status = document["metadata"], document["spec"], document.get("status") or {}
    asked = _read(metadata["creationTimestamp"], 0.0)
    return MachineView(
        name=metadata["name"],
        pool=spec["pool"],
        phase=status.get("phase", "asked"),
        since=_read(status["since"], asked) if "since" in status else asked,
        asked=asked,
        cloud_id=status.get("cloudId", ""),
        reason=status.get("reason", ""),
    )


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _read(text: str, default: float) -> float:
    """Parse a time. Text that Python cannot represent, such as a date in the year 0, gives the default."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return default
