# SPDX-License-Identifier: Apache-2.0
"""Every call of the client of Kubernetes fails, hangs and returns garbage, under the whole daemon with its launcher."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from parts.kube_cluster import KubeCluster
from parts.memory_site import Gated, Kind, Site, on_memory_site
from structlog.testing import capture_logs

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.domain.runs import RunState
from oscar_fedcloud.kube import KubeClient, KubeUnavailable
from oscar_fedcloud.launchers.kubernetes.launcher import KubernetesLauncher
from oscar_fedcloud.launchers.kubernetes.run_records import StoreRecords

CALLS = sorted(name for name, found in vars(KubeClient).items() if inspect.isroutine(found) and name[0] != "_")
# Of the catalogue and of the autoscaler, whose own tests let them fail; ``close`` is bounded by the stop.
NOT_OF_THE_LAUNCHER = {"patch", "replace", "request", "close"}
WALKED = [call for call in CALLS if call not in NOT_OF_THE_LAUNCHER]


@pytest.fixture(autouse=True)
def _quietly() -> Iterator[None]:
    with capture_logs():
        yield


class KubeSite(Site):
    """A site whose Jobs run in a cluster in memory."""

    tools: Literal["auto", "copy"] = "auto"

    def __init__(self, folder: Path, loop: Any, **options: Any) -> None:
        super().__init__(folder, loop, **options)
        self.settings = KubernetesConfig(tools=self.tools)
        self.cluster = KubeCluster(self.settings.namespace)

    def make_launcher(self) -> Any:
        client: Any = Gated(self.cluster, "kube", self.gates)
        self.launching = KubernetesLauncher(self.settings, StoreRecords(self.store, self.config.log_bucket), client)
        return self.launching

    def check_slots(self) -> None:
        assert not self.invoker.dispatcher.running.total()
        assert not self.launching.watcher.picture.expected
        assert not self.cluster.live()


class SiteWithoutProbe(KubeSite):
    """The same, where nothing is to be found out of the cluster first: faults befall the Jobs' own requests."""

    tools = "copy"


def unavailable(name: str) -> Exception:
    return KubeUnavailable(0, "NoAnswer", f"no answer to {name}")


OF_THE_PROBE = [("list_objects", SiteWithoutProbe)]


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize(
    ("call", "site_kind"),
    [(call, one) for call in WALKED for one in (KubeSite, SiteWithoutProbe) if (call, one) not in OF_THE_PROBE],
)
def test_jobs_end_whatever_the_cluster_answers(
    call: str, site_kind: type[KubeSite], kind: Kind, tmp_path: Path
) -> None:
    async def story(site: KubeSite) -> None:
        await site.declare("steady")
        await site.ready("steady")
        site.cluster.length = None
        await site.deliver(site.store.upload("steady", "in/earlier"))
        await site.until(site.cluster.live)
        fault = site.gates.set(f"kube.{call}", kind, None if kind == "hang" else 6)
        await site.restart()
        day = asyncio.create_task(spend_a_day(site))
        await asyncio.sleep(120)
        health = site.launching.health()
        site.gates.lift()
        await day
        await site.quiet(3000)
        assert fault.hits, f"nobody makes the call {call}"
        assert all(run.reason or run.state is RunState.SUCCEEDED for run in site.runs())
        await site.until(lambda: site.launching.health()["ok"])
        assert health["ok"] or health["detail"]
        site.check_slots()
        await works(site)
        await site.restart()
        await works(site)

    on_memory_site(tmp_path, story, site_kind)


async def spend_a_day(site: KubeSite) -> None:
    """Jobs that end, one that is cancelled, one whose log is asked for, and the launcher's housekeeping."""
    site.cluster.losing, site.cluster.length = 1, 1.0
    await site.deliver(site.store.upload("steady", "in/a"))
    await asyncio.sleep(20)
    site.cluster.length = None
    await site.deliver(site.store.upload("steady", "in/b"))
    await asyncio.sleep(20)
    for run in site.runs(states=[RunState.RUNNING]):
        await guarded(site.invoker.invocations.log(run.id, None))
        await asyncio.to_thread(site.invoker.waits.progress, run)
        await guarded(site.invoker.invocations.cancel(run.id))
    await site.invoker.housekeeping.once()
    site.cluster.length = 1.0
    for job in site.cluster.live():
        site.cluster.end(job)


async def guarded(work: Any) -> None:
    """A request, whose error is an answer, and for which nobody waits for ever."""
    try:
        async with asyncio.timeout(40):
            await work
    except Exception:
        return


async def works(site: KubeSite) -> None:
    before = len(site.runs(states=[RunState.SUCCEEDED]))
    await site.ready("steady")
    await site.deliver(site.store.upload("steady", f"in/after-{site.loop.time()}"))
    await site.quiet(3000)
    assert len(site.runs(states=[RunState.SUCCEEDED])) == before + 1
    site.check_slots()


def test_a_cluster_that_does_not_answer_shows_and_recovers(tmp_path: Path) -> None:
    async def story(site: KubeSite) -> None:
        await site.declare("steady")
        await site.ready("steady")
        await works(site)
        for call in ("stream", "list_versioned", "send", "create"):
            site.gates.set(f"kube.{call}", "before", error=unavailable)
        await site.restart()
        await site.deliver(site.store.upload("steady", "in/a"))
        await asyncio.sleep(30)
        assert "no answer to kube.list_versioned" in site.launching.health()["detail"]
        assert not (await asyncio.to_thread(site.invoker.readiness))["launcher"]["ok"]
        site.gates.lift()
        await site.quiet()
        assert set(site.states("steady")) == {"succeeded"}
        await site.until(lambda: site.launching.health()["ok"])
        site.check_slots()

    on_memory_site(tmp_path, story, KubeSite)


def test_no_call_is_left_out() -> None:
    assert set(CALLS) >= NOT_OF_THE_LAUNCHER, "these are no calls any more"
    assert len(NOT_OF_THE_LAUNCHER) <= 4, "a new call is walked"
    assert all(hasattr(KubeCluster, call) for call in CALLS)
