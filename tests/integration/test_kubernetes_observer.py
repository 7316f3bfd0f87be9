# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's picture of a real API server and scheduler, through an outage; and of the invoker's backlog."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest
from parts.kube import KubeServer

from oscar_fedcloud.autoscaler.cluster.backlog import BacklogUnavailable, InvokerAnswer, InvokerBacklogRow
from oscar_fedcloud.autoscaler.cluster.observe import Observer
from oscar_fedcloud.autoscaler.model import ClusterSnapshot, Pool, SchedulingGroup
from oscar_fedcloud.autoscaler.planning.decide import decide
from oscar_fedcloud.kube import KubeClient
from oscar_fedcloud.runtime.tasks import Tasks

PODS, JOBS = "/api/v1/namespaces/default/pods", "/apis/batch/v1/namespaces/default/jobs"
POOL = Pool("small", "cloud", {}, {"cpu": 4000, "memory": 2**34, "pods": 110})


@pytest.fixture(scope="module")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubeServer]:
    with KubeServer(tmp_path_factory.mktemp("kube"), scheduler=True) as server:
        yield server


@pytest.fixture
def http(kube: KubeServer) -> Iterator[httpx.Client]:
    with kube.client() as client:
        yield client
        for path in (JOBS, PODS, "/api/v1/nodes"):
            everything = {"propagationPolicy": "Background", "gracePeriodSeconds": "0"}
            client.delete(path, params=everything).raise_for_status()


class FixedBacklog:
    """An invoker whose answer the test sets; None = it does not answer."""

    answer: list[InvokerBacklogRow] | None = None

    async def rows(self) -> list[InvokerBacklogRow]:
        if self.answer is None:
            raise BacklogUnavailable("nobody listens")
        return self.answer


@pytest.fixture
async def observer(kube: KubeServer, http: httpx.Client) -> AsyncIterator[Observer]:
    client = KubeClient(str(kube.folder / "admin.conf"))
    made = Observer(client, invoker=FixedBacklog())
    tasks = Tasks()
    for name, work in made.works():
        tasks.start(name, work)
    await until(lambda: made.ready)
    yield made
    await tasks.close()
    await client.close()


async def until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_requests_that_wait_for_their_turn_do_not_time_out(kube: KubeServer) -> None:
    client = KubeClient(str(kube.folder / "admin.conf"), connections=1, timeout=3.0)
    slow = {"watch": "true", "timeoutSeconds": "2"}  # an answer takes so long, and all of them more than the limit
    try:
        answers = await asyncio.gather(
            *(client.send("GET", PODS, query=slow) for _ in range(3)), return_exceptions=True
        )
    finally:
        await client.close()
    assert [answer for answer in answers if isinstance(answer, BaseException)] == []


def look(observer: Observer) -> ClusterSnapshot:
    return observer.snapshot(time.time(), machines={}, health={})


def make(http: httpx.Client, path: str, name: str, **fields: Any) -> None:
    http.post(path, json={"metadata": {"name": name}, **fields}).raise_for_status()


def patch(http: httpx.Client, path: str, change: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/merge-patch+json"}
    http.patch(path, json=change, headers=headers).raise_for_status()


def make_node(http: httpx.Client, name: str) -> None:
    """A ready node, as far as the API server knows."""
    make(http, "/api/v1/nodes", name)
    amounts = {"cpu": "3920m", "memory": "8Gi", "pods": "110"}
    status = {"allocatable": amounts, "capacity": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
    patch(http, f"/api/v1/nodes/{name}/status", {"status": status})
    patch(http, f"/api/v1/nodes/{name}", {"spec": {"taints": None}})


def template(cpu: str) -> dict[str, Any]:
    container = {"name": "c", "image": "none.invalid/i:1", "resources": {"requests": {"cpu": cpu}}}
    return {"containers": [container], "restartPolicy": "Never"}


async def test_from_the_schedulers_word_to_a_decision_and_to_a_node(observer: Observer, http: httpx.Client) -> None:
    """The scheduler finds no node; a machine is asked for; when a node is there, it has less room for each Pod."""
    observer.changed.clear()
    make(http, JOBS, "work", spec={"parallelism": 3, "completions": 3, "template": {"spec": template("2")}})
    await until(lambda: len(observer.waits) == 3)
    assert observer.changed.is_set()
    decision = decide(look(observer), (POOL,))
    assert [(launch.count, len(launch.pods)) for launch in decision.launches] == [(2, 3)]
    pod = observer.pod(decision.launches[0].pods[0])
    assert pod is not None
    assert pod.job == "default/work"
    assert pod.uid
    make_node(http, "n1")
    await until(lambda: (node := look(observer).nodes.get("n1")) and node.jobs)
    found = look(observer).nodes["n1"]
    assert (found.free["cpu"], found.ready, found.idle_since) == (1920, True, None)
    await until(lambda: len(observer.waits) == 2)
    assert observer.usage()["n1"] == {"": 2000}


async def test_ended_pods_take_no_room(observer: Observer, http: httpx.Client) -> None:
    make_node(http, "n1")
    make(http, PODS, "alone", spec={**template("1"), "nodeName": "n1"})
    await until(lambda: observer.pod("default/alone"))
    patch(http, f"{PODS}/alone/status", {"status": {"phase": "Succeeded"}})
    await until(lambda: observer.pod("default/alone") is None)
    assert look(observer).nodes["n1"].free["cpu"] == 3920


async def test_an_outage_is_known_and_what_happened_meanwhile_is_seen_after_it(
    observer: Observer, kube: KubeServer, http: httpx.Client
) -> None:
    make_node(http, "n1")
    await until(lambda: "n1" in look(observer).nodes)
    assert look(observer).trustworthy
    kube.stop_api()
    await until(lambda: observer.troubles)
    found = look(observer)
    assert not found.trustworthy
    assert "n1" in found.nodes, "what is not seen is not gone"
    kube.start_api()
    with kube.client() as again:
        again.delete("/api/v1/nodes/n1").raise_for_status()
    await until(lambda: not observer.troubles, 60)
    await until(lambda: "n1" not in look(observer).nodes)
    await until(lambda: look(observer).trustworthy, 60)  # another watch may still be on its way back


async def test_the_backlog_counts_and_its_absence_changes_nothing(observer: Observer) -> None:
    assert look(observer).trustworthy
    assert look(observer).demand == ()
    row = InvokerBacklogRow(SchedulingGroup((("cpu", 500), ("pods", 1))), {"grayify": 4})
    observer.changed.clear()
    observer.invoker.answer = [row]  # type: ignore[union-attr]
    await until(lambda: look(observer).demand)
    assert observer.changed.is_set()
    assert [(each.service, each.count) for each in look(observer).demand] == [("grayify", 4)]


async def test_an_invoker_that_does_not_answer_is_told() -> None:
    invoker = InvokerAnswer("http://127.0.0.1:9", lambda: "Bearer secret")
    with pytest.raises(BacklogUnavailable, match=r"GET http://127.0.0.1:9/v2/backlog") as error:
        await invoker.rows()
    assert "secret" not in str(error.value)
    await invoker.close()
