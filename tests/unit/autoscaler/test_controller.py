# SPDX-License-Identifier: Apache-2.0
"""The loop around decisions: when it may act, how changes are collected, what people are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml
from parts.kube_memory import KubeMemory
from parts.memory_cloud import Bench
from parts.painted_cluster import PaintedCluster
from parts.waiting import eventually_here

from oscar_fedcloud.autoscaler.controller import Controller
from oscar_fedcloud.autoscaler.machines.events import Event, EventPoster
from oscar_fedcloud.autoscaler.model import (
    Decision,
    Refusal,
    SchedulingGroup,
)
from oscar_fedcloud.autoscaler.reload import reload
from oscar_fedcloud.autoscaler.web import create_app
from oscar_fedcloud.daemon.leader import AlwaysLeader
from oscar_fedcloud.kube import ResourceType


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def watched() -> PaintedCluster:
    return PaintedCluster()


def controller_of(bench: Bench, watched: PaintedCluster, **options: Any) -> Controller:
    observer: Any = watched
    bench.context.wake = watched.changed.set
    return Controller(bench.context, observer, AlwaysLeader(), **options)


async def run_until(controller: Controller, condition: Callable[[], object]) -> None:
    """Let it work until a condition holds, and a little longer: more must not follow."""
    await controller.start()
    await eventually_here(condition)
    await asyncio.sleep(0.3)
    await controller.stop()


async def run_in_vain(controller: Controller) -> None:
    """Let it work for a while, in which it must do nothing."""
    await controller.start()
    await asyncio.sleep(0.5)
    await controller.stop()


async def test_what_waits_is_asked_for_once(bench: Bench, watched: PaintedCluster) -> None:
    controller = controller_of(bench, watched)
    watched.wait_for(7)
    await run_until(controller, lambda: bench.cloud.batches)
    assert [len(batch) for batch in bench.cloud.batches] == [4]
    assert bench.context.metrics.registry.get_sample_value("oscar_autoscaler_reaction_seconds_count") == 1


async def test_whoever_does_not_lead_decides_nothing(bench: Bench, watched: PaintedCluster) -> None:
    bench.leading = False
    watched.wait_for(7)
    await run_in_vain(controller_of(bench, watched))
    assert bench.cloud.batches == []
    assert bench.context.metrics.registry.get_sample_value("oscar_autoscaler_leading") == 0


async def test_a_new_leader_reads_first_what_is_written_down(
    bench: Bench, watched: PaintedCluster, tmp_path: Path
) -> None:
    await bench.machine("oscar-small-bbbbb", "starting", node=False)
    bench.context.machines.forget("oscar-small-bbbbb")
    watched.wait_for(2)
    await run_in_vain(controller_of(bench, watched))
    assert bench.cloud.batches == []  # the machine on its way is enough


async def test_nothing_is_decided_before_everything_was_read(bench: Bench, watched: PaintedCluster) -> None:
    watched.ready = False
    watched.wait_for(7)
    await run_in_vain(controller_of(bench, watched))
    assert bench.journal == []


async def test_a_dry_run_changes_nothing(bench: Bench, watched: PaintedCluster, tmp_path: Path) -> None:
    recorded = tmp_path / "record"
    controller = controller_of(bench, watched, dry_run=True, record_to=recorded)
    watched.wait_for(7)
    await run_until(controller, lambda: controller.decision.launches)
    assert controller.decision.launches[0].count == 4
    assert not [line for line in bench.journal if not line.startswith(("GET", "LIST"))]
    assert recorded.read_bytes().count(b"\n") >= 1


async def test_changes_that_come_together_are_decided_together(bench: Bench, watched: PaintedCluster) -> None:
    bench.context.config = msgspec.structs.replace(bench.context.config, batch_window=0.1)
    controller = controller_of(bench, watched)
    await controller.start()
    await asyncio.sleep(0.3)  # the first decision, on nothing, is over
    for count in (2, 4, 6):
        watched.wait_for(count)
        await asyncio.sleep(0.04)
    await eventually_here(lambda: bench.cloud.batches)
    await asyncio.sleep(0.3)  # in which more must not be asked for
    await controller.stop()
    assert [len(batch) for batch in bench.cloud.batches] == [3]


async def test_pods_are_told_why_they_get_no_machine(bench: Bench, watched: PaintedCluster) -> None:
    pod = {"metadata": {"name": "big", "namespace": "team", "uid": "u-1"}}
    bench.kube.put(ResourceType("v1", "pods", "team"), pod)
    controller = controller_of(bench, watched)
    refusal = Refusal(SchedulingGroup(()), 1, ("team/big",), {"small": "cpu 64 is more than a node has"})
    posting = asyncio.create_task(bench.context.events.run())
    for _ in range(3):  # the same is said once
        controller.executor.execute(Decision(refusals=(refusal,)))
        await eventually_here(lambda: any("/events/" in path for path in bench.kube.objects))
    await asyncio.sleep(0.05)  # in which it must not be said again
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    [event] = [body for path, body in bench.kube.objects.items() if "/events/" in path]
    assert event["reason"] == "NotTriggerScaleUp"
    assert event["message"] == "small: cpu 64 is more than a node has"
    assert event["involvedObject"]["uid"] == "u-1"


async def test_an_event_about_what_is_gone_is_left_out() -> None:
    kube: Any = KubeMemory([])
    poster = EventPoster(kube)
    posting = asyncio.create_task(poster.run())
    poster.post(Event("Pod", "team/gone", "Normal", "TriggeredScaleUp", "…"))
    await eventually_here(lambda: kube.journal)
    await asyncio.sleep(0.05)  # in which the event must not be posted
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)
    assert kube.journal == ["GET /api/v1/namespaces/team/pods/gone"]


def settings(folder: Path, **pool: Any) -> Path:
    file = folder / "autoscaler.yml"
    document = {
        "cluster": "oscar",
        "clouds": {},
        "pools": [{"name": "small", "cloud": "here", "template": {}, "capacity": {"cpu": 2, "memory": "1Gi"}, **pool}],
        "join": {"server": "10.0.0.1:6443", "ca_hashes": ["sha256:" + 64 * "0"]},
    }
    document["clouds"] = {"here": {"type": "command", "add": ["true"], "list": ["false"], "remove": ["true"]}}
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


async def test_a_reload_whose_new_cloud_cannot_be_opened_changes_nothing(bench: Bench, tmp_path: Path) -> None:
    before = bench.context.config, bench.context.clouds
    assert not await reload(bench.context, settings(tmp_path))
    assert (bench.context.config, bench.context.clouds) == before


async def test_a_reload_leaves_clouds_alone_that_did_not_change(bench: Bench, tmp_path: Path) -> None:
    file = settings(tmp_path, max=42)
    document = yaml.safe_load(file.read_text())
    bench.context.config = msgspec.structs.replace(bench.context.config, clouds=document["clouds"])
    assert await reload(bench.context, file)
    assert bench.context.clouds["here"] is bench.cloud
    assert bench.context.config.pools[0].max == 42


async def test_what_is_served(bench: Bench, watched: PaintedCluster) -> None:
    controller = controller_of(bench, watched)
    await controller.start()
    transport = httpx.ASGITransport(create_app(controller))
    async with httpx.AsyncClient(transport=transport, base_url="http://autoscaler.example") as client:
        assert (await client.get("/livez")).text == "ok"
        assert (await client.get("/readyz")).json()["ready"] is True
        watched.troubles["pods"] = "connection refused"
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["parts"]["cluster"]["detail"] == "pods: connection refused"
        assert "oscar_autoscaler_leading" in (await client.get("/metrics")).text
        assert (await client.get("/report?hours=x")).status_code == 400
        assert "<svg" in (await client.get("/report")).text
        assert (await client.get("/explain")).status_code == 400
        assert (await client.get("/explain?what=team/nobody")).status_code == 404
        assert (await client.get("/machines")).json() == []
    await controller.stop()
