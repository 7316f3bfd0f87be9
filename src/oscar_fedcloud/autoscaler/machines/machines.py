# SPDX-License-Identifier: Apache-2.0
"""The machines that we asked for, written down as OscarMachine objects before a cloud is told.

The leader is their only writer, so it holds them in memory as well: a decision sees what the decision before it asked
for, however far a watch lags behind.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from oscar_fedcloud.autoscaler.model import MachinePhase, MachineView
from oscar_fedcloud.autoscaler.names import API_VERSION, KIND, MACHINES, POOL_LABEL
from oscar_fedcloud.kube import KubeClient, KubeError

_REASON = 1000  # characters of a reason that are kept


class MachineStore:
    """All OscarMachine objects, in memory as they stand in the cluster."""

    def __init__(self, client: KubeClient) -> None:
        self.client = client
        self._views: dict[str, MachineView] = {}
        self._clouds: dict[str, str] = {}

    def views(self) -> Mapping[str, MachineView]:
        """The machines by name, as of now; a copy."""
        return dict(self._views)

    def get(self, name: str) -> MachineView | None:
        """One machine."""
        return self._views.get(name)

    def cloud_of(self, name: str) -> str:
        """The cloud that a machine was asked from, which its pool may have left since."""
        return self._clouds.get(name, "")

    async def load(self) -> None:
        """Read all objects, consistently. Raises KubeError, then nothing has changed."""
        objects = await self.client.list_objects(MACHINES)
        self._views = {view.name: view for view in map(view_of, objects)}
        self._clouds = {each["metadata"]["name"]: each["spec"]["cloud"] for each in objects}

    async def refresh(self, busy: Collection[str]) -> None:
        """Take up what is there and not known, and forget what somebody deleted; not those in hand. Raises KubeError.

        An object that was written while the answer got lost comes back so.
        """
        known = set(self._views) - set(busy)
        objects = {each["metadata"]["name"]: each for each in await self.client.list_objects(MACHINES)}
        for name in known - objects.keys() - set(busy):
            self.forget(name)
        for name in objects.keys() - self._views.keys() - set(busy):
            self.expect(view_of(objects[name]), objects[name]["spec"]["cloud"])

    def expect(self, view: MachineView, cloud: str) -> None:
        """Count a machine from now on, whose object is being written."""
        self._views[view.name] = view
        self._clouds[view.name] = cloud

    async def create(self, name: str) -> None:
        """Write the object of an expected machine. Raises KubeError; then the machine is not expected any more."""
        view = self._views[name]
        try:
            await self.client.create(MACHINES, body_of(view, self._clouds[name]))
        except KubeError as error:
            if error.status != 409:  # it is there already: a repetition
                self.forget(name)
                raise

    async def set_phase(
        self, name: str, phase: MachinePhase, now: float, *, reason: str = "", cloud_id: str | None = None
    ) -> None:
        """Write a machine's phase. Raises KubeError; then its phase is what it was."""
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
        """Write down what the cloud calls a machine. Raises KubeError."""
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
        """Do not count a machine any more."""
        self._views.pop(name, None)
        self._clouds.pop(name, None)


def body_of(view: MachineView, cloud: str) -> dict[str, Any]:
    """The object of a machine that is asked for."""
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": view.name, "labels": {POOL_LABEL: view.pool}},
        "spec": {"pool": view.pool, "cloud": cloud},
    }


def view_of(document: Mapping[str, Any]) -> MachineView:
    """The machine that an object describes."""
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
    """Return a time. What somebody wrote that is none in Python, such as one of the year 0, is the default."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return default
