# SPDX-License-Identifier: Apache-2.0
"""Execute decisions. Each action is a task of its own, so a slow cloud or drain delays nothing else."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

import structlog

from oscar_fedcloud.autoscaler.machines import launch, removal
from oscar_fedcloud.autoscaler.machines.context import ActionContext
from oscar_fedcloud.autoscaler.machines.events import Event
from oscar_fedcloud.autoscaler.model import Decision, Launch, NodeView, Refusal, Removal

log = structlog.get_logger(__name__)


class Executor:
    """Turns decisions into actions, and marks machines as joined when their nodes become Ready."""

    def __init__(self, context: ActionContext) -> None:
        self.context = context
        self._tasks: set[asyncio.Task[None]] = set()

    def execute(self, decision: Decision, noticed: float | None = None) -> None:
        """Start all actions of a decision. noticed: when its cause was observed (s since the epoch).

        On return, all requested machines are counted and all affected ones are marked busy, so that the next decision
        may follow.
        """
        for order in decision.launches:
            self.launch(order, noticed)
        self._remove(decision.removals)
        for refusal in decision.refusals:
            self._refuse(refusal)

    def launch(self, order: Launch, noticed: float | None = None) -> bool:
        """Count machines from now on and start requesting them. Returns False if their pool or cloud does not exist."""
        batch = launch.prepare(self.context, order, noticed)
        if batch is not None:
            self._task(launch.execute(self.context, batch), f"launch {order.pool}")
        return batch is not None

    def mark_joined(self, nodes: Mapping[str, NodeView]) -> None:
        """Mark machines as joined whose nodes are Ready for the first time."""
        for view in self.context.machines.views().values():
            node = nodes.get(view.name)
            if view.phase in ("asked", "starting") and node is not None and node.ready:
                self.start([view.name], removal.joined(self.context, view.name), f"join {view.name}")

    def _remove(self, removals: Iterable[Removal]) -> None:
        together: dict[str, list[str]] = defaultdict(list)
        for order in removals:
            name, reason = order.machine, order.reason
            if name in self.context.busy:
                continue
            if order.step == "remove":
                together[reason].append(name)
            elif order.step == "cordon":
                self.start([name], removal.cordon(self.context, name, reason), f"cordon {name}")
            elif order.step == "uncordon":
                self.start([name], removal.uncordon(self.context, name, reason), f"uncordon {name}")
            else:
                work = removal.give_up(self.context, name, reason, blames_pool=order.blames_pool)
                self.start([name], work, f"give up {name}")
        for reason, names in together.items():
            self.start(names, removal.remove(self.context, names, reason), f"remove {len(names)}")

    def _refuse(self, refusal: Refusal) -> None:
        """Post events on Pods that no pool can serve."""
        why = (
            "; ".join(f"{pool}: {reason}" for pool, reason in sorted(refusal.reasons.items()))
            or "there is no pool of machines"
        )
        for pod in refusal.pods:
            self.context.events.post(Event("Pod", pod, "Normal", "NotTriggerScaleUp", why))

    def start(self, names: Iterable[str], work: Coroutine[Any, Any, None], title: str) -> None:
        """Start an action and mark its machines busy until it ends. Machines that are busy already are skipped."""
        taken = [name for name in names if name not in self.context.busy]
        if not taken:
            work.close()
            return
        self.context.busy.update(taken)
        task = self._task(work, title)
        task.add_done_callback(lambda _: self.context.busy.difference_update(taken))

    def _task(self, work: Coroutine[Any, Any, None], title: str) -> asyncio.Task[None]:
        task = asyncio.create_task(_guarded(work, title), name=title)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.context.wake()

    async def stop(self, patience: float) -> None:
        """Wait for actions to end, and cancel those that take longer; the next process resumes them."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _guarded(work: Coroutine[Any, Any, None], title: str) -> None:
    """Log the failure of an action. The next decision or reconciliation tries again."""
    try:
        await work
    except removal.FAILURES as error:
        log.warning("action not completed, it will be tried again", action=title, error=str(error))
    except Exception:
        log.exception("action failed", action=title)
