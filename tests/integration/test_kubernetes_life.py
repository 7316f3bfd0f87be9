# SPDX-License-Identifier: Apache-2.0
"""Daemon, API server and Jobs come and go: nothing is lost, nothing is made twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from parts.jobs import service
from parts.kube import NAMESPACE, KubeServer
from parts.kubelet import ClusterSite, cluster_site, told, upload
from parts.site import file_service
from parts.waiting import eventually

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.kube import KubeClient
from oscar_fedcloud.launchers.kubernetes import revision_objects as revisions
from oscar_fedcloud.launchers.kubernetes.rclone_delivery import ToolsProbe
from oscar_fedcloud.launchers.kubernetes.revision_objects import RevisionObjects
from oscar_fedcloud.launchers.kubernetes.template import Template


@pytest.fixture(scope="module")
def kube() -> Iterator[KubeServer]:
    """A control plane for the tests of this file."""
    with KubeServer() as running:
        yield running


@pytest.fixture(scope="module")
def site(kube: KubeServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterSite]:
    """A site in front of it."""
    with cluster_site(tmp_path_factory.mktemp("site"), kube) as running:
        yield running


def declare(site: ClusterSite, name: str, **fields: Any) -> None:
    """A service that takes files from ``<name>/in``."""
    site.daemon.apply(file_service(name, "true", **{"image": "example.org/tool:1", **fields}))
    site.daemon.wait_ready(name)


def outputs(site: ClusterSite, job: dict[str, Any]) -> list[str]:
    """What the API says that a job wrote, as ``bucket/key``."""
    with site.daemon.client() as client:
        found = client.get(f"/v2/jobs/{job['id']}/outputs").json()["outputs"]
    return [f"{each['bucket']}/{each['key']}" for each in found]


def name_of(job: dict[str, Any]) -> str:
    return str(job["metadata"]["name"])


def keys(jobs: list[dict[str, Any]]) -> list[str]:
    """The keys of Jobs, sorted."""
    texts = [job["spec"]["template"]["metadata"]["annotations"]["oscar.fedcloud.eu/variables"] for job in jobs]
    lines = [line for text in texts for line in text.splitlines() if line.startswith("STORAGE_OBJECT_KEY=")]
    return sorted(line.partition("=")[2] for line in lines)


def asked(kube: KubeServer) -> Counter[tuple[str, str]]:
    """How often the invoker asked for what."""
    return Counter((each["verb"], each["objectRef"]["resource"]) for each in kube.requests())


def test_a_job_costs_one_request(site: ClusterSite, kube: KubeServer) -> None:
    declare(site, "counted")
    upload(site, "counted", "in/first")
    site.kubelet.jobs("counted")
    eventually(lambda: asked(kube)["create", "jobs"])  # the record of a request comes after its answer
    before = asked(kube)
    for number in range(20):
        upload(site, "counted", f"in/{number}")
    site.kubelet.jobs("counted", 21)
    time.sleep(3)  # what else would be asked comes by then
    assert asked(kube) - before == {("create", "jobs"): 20}


def test_jobs_that_end_while_the_daemon_is_away(site: ClusterSite) -> None:
    declare(site, "away")
    for number in range(3):
        upload(site, "away", f"in/{number}")
    done, failed, running = (name_of(job) for job in site.kubelet.jobs("away", 3))
    site.kubelet.run(running)
    site.daemon.kill()
    site.kubelet.end(done)
    site.kubelet.end(failed, 3, told("script", 3, "the script ended with exit code 3"))
    site.daemon.start()
    eventually(lambda: Counter(job["state"] for job in site.daemon.jobs(service="away"))["running"] == 1)
    site.kubelet.end(running)
    states = Counter(job["state"] for job in site.daemon.wait_jobs(3, service="away"))
    assert states == {"succeeded": 2, "failed": 1}
    assert len(site.kubelet.jobs("away", 3)) == 3


def test_a_job_that_vanished_is_lost_unless_it_left_a_record(site: ClusterSite) -> None:
    declare(site, "vanished", retry={"attempts": 1, "infrastructure": 0})
    for number in range(4):
        upload(site, "vanished", f"in/{number}")
    seen, recorded, unseen, unseen_recorded = (name_of(job) for job in site.kubelet.jobs("vanished", 4))
    for name in (recorded, unseen_recorded):
        listed = f"outputs=1\noutput=0 {'0' * 32} 3 of {name}\n"
        upload(site, "oscar-logs", f"vanished/{name}.result", (told("done", 0, "done") + listed).encode())
    for name in (seen, recorded):
        site.kubelet.delete("jobs", name)
    ended = eventually(lambda: [job for job in site.daemon.jobs(service="vanished") if job["state"] != "running"][1:])
    assert ended
    site.daemon.kill()
    for name in (unseen, unseen_recorded):
        site.kubelet.delete("jobs", name)
    site.daemon.start()
    again = site.kubelet.jobs("vanished")
    assert [name_of(job) for job in again] == [unseen]  # nobody knows that it began, so it begins
    site.kubelet.end(unseen)
    states = Counter(job["state"] for job in site.daemon.wait_jobs(4, service="vanished"))
    assert states == {"succeeded": 3, "failed": 1}
    (lost,) = [job for job in site.daemon.jobs(service="vanished") if job["state"] == "failed"]
    assert lost["reason"] == "its Job was deleted from the cluster before it ended"
    listed = {path for job in site.daemon.jobs(service="vanished") for path in outputs(site, job)}
    assert listed == {f"vanished/out/of {name}" for name in (recorded, unseen_recorded)}


def test_a_lost_pod_is_repeated(site: ClusterSite) -> None:
    declare(site, "repeated")
    upload(site, "repeated", "in/file")
    first = name_of(site.kubelet.jobs("repeated")[0])
    site.kubelet.end(first, 137)
    jobs = site.kubelet.jobs("repeated", 1)
    second = eventually(lambda: [name_of(job) for job in site.kubelet.jobs("repeated") if name_of(job) != first], 60)
    assert second == [first[:-1] + "2"], jobs
    site.kubelet.end(second[0])
    assert [job["state"] for job in site.daemon.wait_jobs(1, service="repeated")] == ["succeeded"]


def test_a_pod_whose_node_does_not_answer_is_lost(site: ClusterSite) -> None:
    declare(site, "dead", retry={"attempts": 1, "infrastructure": 0})
    upload(site, "dead", "in/file")
    job = name_of(site.kubelet.jobs("dead")[0])
    site.kubelet.place(job)
    site.kubelet.run(job)
    site.kubelet.delete("pods", name_of(site.kubelet.pod(job)), grace=1)
    (ended,) = site.daemon.wait_jobs(1, service="dead")
    assert ended["state"] == "failed"
    assert "its Pod on node node-1 was lost" in ended["reason"]
    eventually(lambda: not site.kubelet.objects("jobs", fieldSelector=f"metadata.name={job}"))


def test_uploads_while_the_api_server_is_away(site: ClusterSite, kube: KubeServer) -> None:
    declare(site, "outage")
    upload(site, "outage", "in/before")
    site.kubelet.jobs("outage")
    kube.stop_api()
    for number in range(10):
        upload(site, "outage", f"in/{number}")
    eventually(lambda: len(site.daemon.jobs(service="outage")) == 11)
    kube.start_api()
    jobs = site.kubelet.jobs("outage", 11)
    assert keys(jobs) == sorted(["in/before", *(f"in/{number}" for number in range(10))])
    for job in jobs:
        site.kubelet.end(name_of(job))
    assert {job["state"] for job in site.daemon.wait_jobs(11, service="outage")} == {"succeeded"}
    assert len(site.kubelet.jobs("outage", 11)) == 11


def test_the_daemon_starts_while_the_api_server_is_away(site: ClusterSite, kube: KubeServer) -> None:
    declare(site, "late")
    upload(site, "late", "in/1")
    (job,) = site.kubelet.jobs("late")
    site.daemon.kill()
    site.kubelet.end(name_of(job))
    kube.stop_api()
    with pytest.raises(RuntimeError, match="the API server did not answer"):
        site.daemon.start(timeout=15)
    kube.start_api()
    site.daemon.start()
    assert [job["state"] for job in site.daemon.wait_jobs(1, service="late")] == ["succeeded"]
    assert len(site.kubelet.jobs("late")) == 1


def test_a_job_of_that_name_is_adopted_or_refused(site: ClusterSite) -> None:
    declare(site, "mine", retry={"attempts": 1, "infrastructure": 0})
    upload(site, "mine", "in/1")
    (job,) = site.kubelet.jobs("mine")
    site.daemon.kill()
    site.kubelet.delete("jobs", name_of(job))
    metadata = {"name": name_of(job), "labels": {"app": "other"}}
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}}
    body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    eventually(lambda: site.kubelet.http.post(path, json=body).status_code == 201)
    site.daemon.start()
    (ended,) = site.daemon.wait_jobs(1, service="mine")
    assert "of another event" in ended["reason"]


async def test_the_first_jobs_of_a_revision_make_its_objects_once(site: ClusterSite, kube: KubeServer) -> None:
    names = {"apiVersion": "v1", "metadata": {"name": "at-once"}}
    client = KubeClient(str(kube.folder / "invoker.conf"))
    bodies = ({**names, "kind": kind} for kind in ("ConfigMap", "Secret"))
    template = Template("at-once", service("true"), {}, *bodies, pod=b"{}")
    before, kept = asked(kube), RevisionObjects(client, NAMESPACE)
    await asyncio.gather(*(kept.ensure(template) for _ in range(10)))
    await client.close()
    await asyncio.sleep(1)  # the record of a request comes after its answer
    made = asked(kube) - before
    assert (made["create", "configmaps"], made["create", "secrets"]) == (1, 1)


async def test_revisions_that_nobody_needs_are_removed(
    site: ClusterSite, kube: KubeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(site, "old")
    upload(site, "old", "in/1")
    (job,) = site.kubelet.jobs("old")
    used = job["metadata"]["labels"]["oscar.fedcloud.eu/revision"]
    client = KubeClient(str(kube.folder / "invoker.conf"))
    kept = RevisionObjects(client, NAMESPACE)

    def names() -> set[str]:
        found = [*site.kubelet.objects("configmaps"), *site.kubelet.objects("secrets")]
        return {name_of(each) for each in found if name_of(each).startswith("old-")}

    await kept.collect({}, set)
    assert names() == {used}  # too young
    monkeypatch.setattr(revisions, "_UNUSED", -1.0)
    await kept.collect({}, lambda: {used})
    assert names() == {used}  # a Job needs it
    await kept.collect({"old": "1"}, set)
    assert names() == {used}  # it is current
    await kept.collect({"old": "2"}, set)
    assert names() == set()
    await client.close()


@pytest.mark.parametrize(("code", "tools"), [(0, "image"), (1, "copy")])
async def test_the_tools_are_probed_once(kube: KubeServer, site: ClusterSite, code: int, tools: str) -> None:
    config = KubernetesConfig(tools="auto", tools_image=f"example.org/rclone:{tools}")
    client = KubeClient(str(kube.folder / "invoker.conf"))
    probe = ToolsProbe(client, config)
    answer = asyncio.create_task(probe.mode())
    await asyncio.to_thread(site.kubelet.end, probe.name, code)
    assert await answer == tools
    before = len(kube.requests())
    assert await ToolsProbe(client, config).mode() == tools
    assert [each["verb"] for each in kube.requests()[before:]] == ["list"]
    impatient = ToolsProbe(client, KubernetesConfig(tools_image="example.org/nobody"), patience=1.0)
    assert await impatient.mode() == "copy"
    await client.close()
