# SPDX-License-Identifier: Apache-2.0
"""What follows from what the cluster shows, step by step and without a cluster or a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from oscar_fedcloud.config import KubernetesConfig
from oscar_fedcloud.domain.runs import OutputPlace
from oscar_fedcloud.launchers.kubernetes import job_results
from oscar_fedcloud.launchers.kubernetes.objects import OUTPUTS, Job, Pod
from oscar_fedcloud.launchers.kubernetes.picture import (
    AddOutputs,
    Check,
    Delete,
    LookUp,
    LookWhy,
    Picture,
    Report,
    Step,
)

NOW = 1000.0  # s of the monotonic clock
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
PLACE = OutputPlace("minio.default", "results", "out")


def job(name: str = "j", condition: str = "", **metadata: Any) -> Job:
    """A Job that goes on, or has ended by this condition."""
    conditions = [{"type": condition, "status": "True"}] if condition else []
    return msgspec.convert({"metadata": {"name": name, **metadata}, "status": {"conditions": conditions}}, Job)


def pod(phase: str = "Pending", message: str = "", code: int = 0, node: str = "", **more: Any) -> Pod:
    """The Pod of the Job ``j``."""
    ended = {"terminated": {"exitCode": code, "message": message, "reason": "Error" if code else "Completed"}}
    state = {"state": ended} if phase in ("Succeeded", "Failed") else {}
    metadata = {"name": "p", "labels": {"batch.kubernetes.io/job-name": "j"}, **more.pop("metadata", {})}
    status = {"phase": phase, "containerStatuses": [{"name": "oscar-container", **state, **more.pop("state", {})}]}
    return msgspec.convert({"metadata": metadata, "spec": {"nodeName": node}, "status": {**status, **more}}, Pod)


def picture(**settings: Any) -> Picture:
    """A whole picture in which the Job ``j`` is there, and expected to end."""
    made = Picture(KubernetesConfig(**settings))
    made.expect("j", (PLACE,))
    assert made.jobs_listed([job()], NOW) == made.pods_listed([], NOW) == made.made("j", NOW) == []
    assert made.whole
    return made


def end_of(step: Step) -> tuple[str, str]:
    """State and reason of the end that a step tells."""
    assert isinstance(step, Report | AddOutputs | Check)
    return step.completion.state, step.completion.reason


def test_an_end_is_told_once() -> None:
    seen = picture()
    (step,) = seen.pod_changed(pod("Failed", "phase=script\nexit=3\nreason=no\n", 3), False, NOW)
    assert isinstance(step, Report)
    assert end_of(step) == ("failed", "no")
    assert seen.job_changed(job(condition="Failed"), False, NOW) == []
    assert seen.job_changed(job(condition="Failed"), True, NOW) == []


def test_outputs_are_added_before_an_end_is_told() -> None:
    seen = picture()
    told = "phase=done\nexit=0\noutputs=1\noutput=0 - 5 a\n"
    (step,) = seen.pod_changed(pod("Succeeded", told), False, NOW)
    assert isinstance(step, AddOutputs)
    assert step.listed == b"output=0 - 5 a\n"
    assert seen.places("j") == (PLACE,)


def test_where_a_job_writes_is_told_by_the_job_itself_or_by_the_daemon() -> None:
    seen = Picture(KubernetesConfig())
    seen.adopt({"j": (PLACE,), "gone": (PLACE,)}, NOW)
    other = OutputPlace("minio.default", "elsewhere")
    noted = {"annotations": {OUTPUTS: msgspec.json.encode([other]).decode()}}
    seen.jobs_listed([job(**noted)], NOW)
    assert (seen.places("j"), seen.places("gone")) == ((other,), (PLACE,))


def test_the_log_is_saved_of_a_runner_that_could_not() -> None:
    (step,) = picture().pod_changed(pod("Failed", code=137), False, NOW)
    assert isinstance(step, Check)
    assert step.pod is not None


def test_the_end_of_a_pod_may_be_shown_after_that_of_its_job() -> None:
    seen = picture()
    assert seen.job_changed(job(condition="Failed"), False, NOW) == []
    assert seen.look(NOW + 1, NOON) == []
    (step,) = seen.look(NOW + 3, NOON)
    assert isinstance(step, Check)
    assert end_of(step)[0] == "lost"


@pytest.mark.parametrize("how", ["deleted", "not listed"])
def test_a_job_that_vanishes_is_looked_for_in_the_records(how: str) -> None:
    seen = picture()
    (step,) = seen.job_changed(job(), True, NOW) if how == "deleted" else seen.jobs_listed([], NOW)
    assert isinstance(step, Check)
    assert end_of(step) == ("lost", job_results.GONE)


def test_a_job_that_is_being_made_has_not_vanished() -> None:
    seen = Picture(KubernetesConfig())
    seen.expect("j")
    assert seen.jobs_listed([], NOW) == []
    seen.made("j", NOW)
    assert seen.jobs_listed([], NOW) == []  # no list has shown it yet
    assert seen.look(NOW + 30, NOON) == []
    assert seen.look(NOW + 61, NOON) == [LookUp("j")]
    assert end_of(*seen.vanished("j"))[0] == "lost"


def test_a_job_of_an_earlier_life_that_the_first_list_lacks_has_vanished() -> None:
    seen = Picture(KubernetesConfig())
    seen.adopt({"j": ()}, NOW)
    (step,) = seen.jobs_listed([], NOW)
    assert end_of(step)[0] == "lost"


def test_a_cancelled_job_is_deleted_once_and_ends_as_such() -> None:
    seen = picture()
    assert seen.end("j", job_results.cancelled("j")) == [Delete("j")]
    assert seen.end("j", job_results.cancelled("j")) == []
    (step,) = seen.job_changed(job(), True, NOW)
    assert end_of(step) == ("cancelled", "cancelled")


def test_a_job_that_is_cancelled_while_it_is_made_is_deleted_then() -> None:
    seen = Picture(KubernetesConfig())
    seen.expect("j")
    assert seen.end("j", job_results.cancelled("j")) == []
    assert seen.made("j", NOW) == [Delete("j")]
    assert seen.end("unknown", job_results.cancelled("unknown")) == seen.made("unknown", NOW) == []


def test_a_pod_that_does_not_go_is_lost_with_its_node() -> None:
    seen = picture()
    due = {"deletionTimestamp": NOON.isoformat()}
    seen.pod_changed(pod("Running", node="n", metadata=due), False, NOW)
    assert seen.look(NOW, NOON + timedelta(seconds=14)) == []
    (step,) = seen.look(NOW, NOON + timedelta(seconds=16))
    assert "its node does not answer" in end_of(step)[1]


def test_an_image_that_cannot_be_pulled_ends_the_job_after_its_time() -> None:
    seen = picture(image_timeout=60)
    waiting = {"state": {"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}}}
    seen.pod_changed(pod(node="n", **waiting), False, NOW)
    assert seen.look(NOW, NOON) == seen.look(NOW + 59, NOON) == []
    assert seen.look(NOW + 60, NOON) == [Delete("j")]
    assert seen.look(NOW + 120, NOON) == [], "it is being deleted"
    (step,) = seen.job_changed(job(), True, NOW)
    assert "cannot be pulled" in end_of(step)[1]


def test_a_job_without_a_pod_is_asked_about_now_and_then() -> None:
    seen = picture(image_timeout=60)
    assert seen.look(NOW, NOON) == []
    assert seen.look(NOW + 60, NOON) == [LookWhy("j")]
    assert seen.look(NOW + 62, NOON) == []
    assert seen.look(NOW + 130, NOON) == [LookWhy("j")]


def test_a_pod_waits_for_a_node_as_long_as_others_of_its_service_get_one() -> None:
    seen = picture(schedule_timeout=60)
    labels = {"labels": {"batch.kubernetes.io/job-name": "j", "oscar_service": "s"}}
    lacks = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no memory"}]}
    seen.pod_changed(pod(metadata=labels, **lacks), False, NOW)
    assert seen.look(NOW, NOON) == []
    assert seen.look(NOW + 61, NOON) == [Delete("j")]


def test_a_pod_that_goes_after_its_job_leaves_nothing() -> None:
    seen = picture()
    seen.jobs.clear()
    ended = pod("Succeeded", "phase=done\nexit=0\n")
    (step,) = seen.pod_changed(ended, True, NOW)
    assert isinstance(step, Report)
    seen.clear("j")
    assert (seen.pods, seen.expected) == ({}, {})
    assert seen.pod_changed(ended, True, NOW) == []


def test_what_cannot_be_judged_ends_its_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = picture()
    seen.expect("other")

    def judge(name: str, *_: object) -> None:
        if name == "j":
            raise OverflowError("too large")

    monkeypatch.setattr(job_results, "ending", judge)
    (step,) = seen.look(NOW, NOON)
    assert end_of(step)[0] == "failed"
    assert "other" in seen.expected
