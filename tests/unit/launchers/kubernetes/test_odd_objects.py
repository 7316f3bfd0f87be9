# SPDX-License-Identifier: Apache-2.0
"""Odd objects of a cluster, and odd words in them, end at most the attempt that they are about."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.domain.runs import AttemptState, OutputPlace, StoredObject
from oscar_fedcloud.kube import KubeClient, ResourceType
from oscar_fedcloud.launchers.kubernetes import job_results
from oscar_fedcloud.launchers.kubernetes import pod_problems as troubles
from oscar_fedcloud.launchers.kubernetes import watcher as watcher_module
from oscar_fedcloud.launchers.kubernetes.launcher import KubernetesLauncher
from oscar_fedcloud.launchers.kubernetes.objects import OUTPUTS, Job, Pod
from oscar_fedcloud.launchers.kubernetes.picture import Check
from oscar_fedcloud.launchers.kubernetes.watcher import Watcher
from oscar_fedcloud.launchers.runner.result import Result, parse_result
from oscar_fedcloud.runtime import unexpected

MD5 = "5d41402abc4b2a76b9719d911017c592"
PODS = ResourceType("v1", "pods", "oscar-services")


def pod(message: str = "", code: int = 0, **status: Any) -> dict[str, Any]:
    """A Pod that ended like this, as JSON."""
    ended = {"exitCode": code, "message": message, "reason": "Error" if code else "Completed"}
    return {
        "metadata": {"name": "p", "labels": {"batch.kubernetes.io/job-name": "j"}},
        "status": {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "oscar-container", "state": {"terminated": ended}}],
            **status,
        },
    }


class Records:
    """A log bucket with one list of outputs."""

    def __init__(self, listed: bytes = b"") -> None:
        self.listed = listed

    def result(self, job: str) -> Result:
        return Result()

    def outputs(self, job: str) -> bytes:
        return self.listed

    def keep_log(self, job: str, log: bytes) -> None:
        """Nothing."""


async def reported(document: dict[str, Any], job: dict[str, Any], records: Records | None = None) -> Any:
    """The completion of a Job whose Pod looks like this."""
    watcher = Watcher(KubeClient("", ""), KubernetesConfig(), records or Records())
    picture = watcher.picture
    picture.adopt({"j": ()}, 0.0)
    watcher.execute(picture.jobs_listed([msgspec.convert(job, Job)], 0.0))
    watcher.execute(picture.pods_listed([msgspec.convert(document, Pod)], 0.0))
    async for completion in watcher.completions():
        return completion
    return None


class FailingRecords(Records):
    """A log bucket that raises what no code provides for, a few times."""

    failures = 3

    def result(self, job: str) -> Result:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("nobody thought of this")
        return Result()


async def test_an_end_is_told_however_often_its_record_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_module, "_RETRY", 0.01)
    failures = unexpected.count()
    records = FailingRecords()
    watcher = Watcher(KubeClient("", ""), KubernetesConfig(), records)
    lost = job_results.completion("j", AttemptState.LOST, "its Pod is gone")
    watcher.picture.adopt({"j": ()}, 0.0)
    watcher.execute([Check(lost, None)])
    async with asyncio.timeout(60):
        found = await anext(watcher.completions())
    assert (found.job, found.state, found.reason) == ("j", AttemptState.LOST, "its Pod is gone")
    assert unexpected.count() == failures + 3
    await watcher.close()


async def test_outputs_come_from_the_message_and_its_annotation() -> None:
    places = msgspec.json.encode([OutputPlace("minio.default", "results", "out")]).decode()
    job = {"metadata": {"name": "j", "annotations": {OUTPUTS: places, "other": "x" * 1000}}}
    told = f"phase=done\nexit=0\nreason=done\nsummary=well\noutputs=1\noutput=0 {MD5} 5 a\n"
    found = await reported(pod(told), job)
    assert found.outputs == (StoredObject("minio.default", "results", "out/a", 5, MD5),)
    assert (found.outputs_total, found.summary) == (1, "well")


async def test_a_long_list_comes_from_the_log_bucket() -> None:
    places = msgspec.json.encode([OutputPlace("minio.default", "results")]).decode()
    job = {"metadata": {"name": "j", "annotations": {OUTPUTS: places}}}
    listed = "".join(f"output=0 {MD5} 5 a{number}\n" for number in range(30)).encode()
    told = f"phase=done\nexit=0\nreason=done\noutputs=30\noutput=0 {MD5} 5 a0\n"
    found = await reported(pod(told), job, Records(listed))
    assert len(found.outputs) == 30


@pytest.mark.parametrize("annotation", ["", "[]", "nonsense", '[{"provider": 5}]', "[" * 10000, '{"a": 1}'])
async def test_an_odd_annotation_costs_the_list_only(annotation: str) -> None:
    job = {"metadata": {"name": "j", "annotations": {OUTPUTS: annotation}}}
    found = await reported(pod(f"phase=done\nexit=0\noutputs=1\noutput=0 {MD5} 5 a\n"), job)
    assert (found.state, found.outputs, found.outputs_total) == ("succeeded", (), 1)


@pytest.mark.parametrize("code", [0, 1, 137])
@pytest.mark.parametrize(
    "message", ["phase=script\nexit=" + "9" * 20, "exit=0", "\0\0", "x" * 5000, "phase=done\nexit=x"]
)
async def test_an_odd_message_fails_its_attempt(message: str, code: int) -> None:
    found = await reported(pod(message, code), {"metadata": {"name": "j"}})
    assert found.state == "failed"
    assert "cannot be used" in found.reason
    assert "\0" not in found.reason


async def test_what_cannot_be_judged_ends_its_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OverflowError("too large")

    monkeypatch.setattr(job_results, "ending", fail)
    found = await reported(pod("phase=done\nexit=0\n"), {"metadata": {"name": "j"}})
    assert found.state == "failed"
    assert "too large" in found.reason


def test_times_and_texts_are_bounded() -> None:
    seen = msgspec.convert(
        pod("", 3) | {"status": {"phase": "Failed", "reason": "Evicted", "message": "a\0b" * 5000}}, Pod
    )
    found = job_results.ending("j", None, seen)
    assert found is not None
    assert len(found.reason) <= 2000
    assert "\0" not in found.reason
    far = msgspec.convert("9999-12-31T23:59:59Z", type=datetime)
    assert job_results.completion("j", found.state, "", 0, far).finished is None


async def test_objects_that_cannot_be_decoded_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    client = KubeClient("", "")
    odd: list[Any] = [{"metadata": {"name": 5}}, {"metadata": {"name": "x", "labels": None}}, {}, [], None, "x"]
    page = json.dumps({"metadata": {"resourceVersion": "7"}, "items": [*odd, pod()]}).encode()

    async def send(*_: object, **__: object) -> bytes:
        return page

    monkeypatch.setattr(client, "send", send)
    found, version = await client.list_versioned(PODS, Pod, lenient=True)
    assert ([each.metadata.name for each in found], version) == (["p"], "7")
    with pytest.raises(msgspec.ValidationError):
        await client.list_versioned(PODS, Pod)  # whoever must see all is told that he does not


def test_why_a_pod_does_not_run_yet() -> None:
    unschedulable = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes: Insufficient cpu"}
    waiting = {
        "name": "oscar-container",
        "image": "i",
        "state": {"waiting": {"reason": "ErrImagePull", "message": "no"}},
    }

    def found(spec: dict[str, Any], **status: Any) -> tuple[str, str]:
        return troubles.waiting(msgspec.convert({"metadata": {"name": "p"}, "spec": spec, "status": status}, Pod))

    assert found({}, conditions=[unschedulable]) == ("no_node", "0/2 nodes: Insufficient cpu")
    assert found({"nodeName": "n"}, containerStatuses=[waiting]) == ("starting", "image i cannot be pulled: no")
    assert found({}) == ("starting", "its Pod waits for the scheduler")
    assert found({"nodeName": "n"})[1].startswith("node n ")


@pytest.mark.parametrize(("offset", "sent"), [(0, b"one\ntwo\n"), (4, b"two\n"), (8, b""), (100, b"one\ntwo\n")])
def test_what_a_node_sent_before_is_left_out_and_a_log_that_was_begun_anew_is_not(offset: int, sent: bytes) -> None:
    live = msgspec.convert({**pod(), "status": {"phase": "Running"}}, Pod)
    watcher = SimpleNamespace(picture=SimpleNamespace(pods={"j": live}), read_log=lambda pod: b"one\ntwo\n")
    launcher: Any = SimpleNamespace(watcher=watcher, client=SimpleNamespace(wait=lambda answer: answer))
    found = KubernetesLauncher.log(launcher, "j", offset)
    assert found is not None
    assert (b"".join(found.chunks), found.end) == (sent, 8)
    assert KubernetesLauncher.log(launcher, "other", offset) is None


@pytest.mark.parametrize("code", [b"9" * 3000, b"99999999999999999999", b"-1", b"0x1"])
def test_an_odd_record_in_the_log_bucket_fails_its_attempt(code: bytes) -> None:
    found = job_results.of_record("j", parse_result(b"phase=script\nexit=" + code + b"\n"))
    assert (found.state, found.exit_code) == ("failed", None)
    assert "exit code" in found.reason
