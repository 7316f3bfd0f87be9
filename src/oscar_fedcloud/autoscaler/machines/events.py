# SPDX-License-Identifier: Apache-2.0
"""Events on Pods and nodes: what ``kubectl describe`` shows of our decisions.

They are posted beside the work, one after the other, and never hold it up; one that says again what was said is left
out.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from oscar_fedcloud.autoscaler.names import MANAGER
from oscar_fedcloud.kube import KubeClient, KubeError, ResourceType

log = structlog.get_logger(__name__)

Kind = Literal["Pod", "Node"]
_QUEUE = 10_000  # events that wait; more are left out
POSTERS = 2  # tasks that post at the same time
_PACE = 0.05  # s between two of a poster: thousands of Pods may wait, and the API server has other things to do
_REPEAT = 600.0  # s in which the same is not said again
_MESSAGE = 1000  # characters


@dataclass(frozen=True, slots=True)
class Event:
    """One event. about: ``namespace/name`` of a Pod, or the name of a node."""

    kind: Kind
    about: str
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class EventPoster:
    """Posts events in the background.

    uid_of: the UID of what an event is about, as far as it is known. clock: monotonic seconds.
    """

    def __init__(
        self,
        client: KubeClient,
        uid_of: Callable[[Event], str] = lambda event: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client = client
        self.uid_of = uid_of
        self.clock = clock
        self.dropped = 0
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_QUEUE)
        self._said: dict[Event, float] = {}

    def post(self, event: Event) -> None:
        """Have an event posted, unless it was said a short while ago."""
        now = self.clock()
        if now - self._said.get(event, -_REPEAT) < _REPEAT:
            return
        if len(self._said) > 2 * _QUEUE:
            self._said = {each: when for each, when in self._said.items() if now - when < _REPEAT}
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped += 1
            return
        self._said[event] = now

    async def run(self) -> None:
        """Post until cancelled. Several of these tasks may run."""
        while True:
            event = await self._queue.get()
            try:
                await self._send(event)
            except KubeError as error:
                log.warning("event not posted", about=event.about, reason=event.reason, error=error.message)
            await asyncio.sleep(_PACE)

    async def _send(self, event: Event) -> None:
        namespace, _, _ = event.about.rpartition("/")
        if uid := await self._uid(event):
            where = namespace or "default"
            await self.client.create(ResourceType("v1", "events", where), body_of(event, where, uid))

    async def _uid(self, event: Event) -> str:
        """By which ``kubectl describe`` finds events; "" = the object is gone, and so is everyone who would read it."""
        if known := self.uid_of(event):
            return known
        namespace, _, name = event.about.rpartition("/")
        try:
            found = await self.client.get(ResourceType("v1", f"{event.kind.lower()}s", namespace), name)
        except KubeError as error:
            if error.status == 404:
                return ""
            raise
        return str(found["metadata"]["uid"])


def body_of(event: Event, namespace: str, uid: str) -> dict[str, Any]:
    """The object of an event."""
    name = event.about.rpartition("/")[2]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"apiVersion": "v1", "kind": event.kind, "name": name, "uid": uid}
    if event.kind == "Pod":
        about["namespace"] = namespace
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "involvedObject": about,
        "type": event.type,
        "reason": event.reason,
        "message": event.message[:_MESSAGE],
        "source": {"component": MANAGER},
        "reportingComponent": MANAGER,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
