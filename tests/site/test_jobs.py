# SPDX-License-Identifier: Apache-2.0
"""Files of all kinds through Jobs on workers, and every way in which a Job can fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from deployed import Deployed
from parts.ansible_run import ROOT
from workloads import COPY, outputs, put, service

pytestmark = [pytest.mark.site, pytest.mark.full]
EXAMPLES = ROOT / "examples"
ODD = (
    "a b+c%d.txt",
    "\u00e4\u00f6\u00fc \u65e5\u672c.txt",
    'quote\'s "double".txt',
    "$(id).txt",
    "new\nline.txt",
    "`id`;&|<>.txt",
    "#?&=.txt",
)


@pytest.mark.parametrize("example", ["text-stats", "two-steps"])
def test_the_examples_run_on_the_cluster(site: Deployed, example: str) -> None:
    folder = EXAMPLES / example
    site.declare(folder / "fdl.yml")
    sample = next(folder.glob("*.txt"))
    site.s3().upload_file(str(sample), example, f"in/{sample.name}")
    declared = yaml.safe_load((folder / "fdl.yml").read_text())["functions"]["oscar"]
    for each in declared:  # two-steps: the second one starts by what the first one wrote
        [job] = site.wait_jobs(1, timeout=300, service=each["oscar-cluster"]["name"])
        assert job["state"] == "succeeded", job
    assert outputs(site, example)


def test_a_hundred_files_and_odd_names(site: Deployed) -> None:
    site.declare(service("many", COPY))
    names = [f"{number:03}" for number in range(100)] + list(ODD)
    for name in names:
        put(site, "many", f"in/{name}", name.encode())
    jobs = site.wait_jobs(len(names), timeout=900, service="many")
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert outputs(site, "many") == {f"out/{name}": len(name.encode()) for name in names}


def test_a_large_file_passes_a_small_job_and_an_empty_one_too(site: Deployed, tmp_path: Path) -> None:
    site.declare(service("large", COPY, memory="256Mi", cpu="0.2"))
    size = 1024**3
    with (tmp_path / "large").open("wb") as file:
        file.truncate(size)
    site.s3().upload_file(str(tmp_path / "large"), "large", "in/large")
    put(site, "large", "in/empty", b"")
    jobs = site.wait_jobs(2, timeout=900, service="large")
    assert [job["state"] for job in jobs] == ["succeeded"] * 2, jobs
    assert outputs(site, "large") == {"out/large": size, "out/empty": 0}


@pytest.fixture(scope="module")
def hasty(site: Deployed) -> Iterator[None]:
    """An invoker that does not wait long for an image or a node, and then as before."""
    patience = {"launcher": {"image_timeout": 15, "schedule_timeout": 15}}
    site.play("site", "--tags", "invoker", invoker_settings=patience)
    yield
    site.play("site", "--tags", "invoker")


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("name", "script", "more", "said"),
    [
        ("hungry", "head -c 300m /dev/zero | tail\n", {"memory": "64Mi"}, "memory"),
        ("sleepy", "sleep 300\n", {"timeout": "15s"}, "15"),
        ("imageless", COPY, {"image": "docker.io/library/no-such-image:1"}, "no-such-image"),
        ("greedy", COPY, {"memory": "4Ti"}, "memory"),
    ],
)
def test_people_understand_why_a_job_failed(
    site: Deployed, name: str, script: str, more: dict[str, object], said: str
) -> None:
    site.declare(service(name, script, retry={"attempts": 1, "infrastructure": 0}, **more))
    put(site, name, "in/a")
    (job,) = site.wait_jobs(1, timeout=600, service=name)
    assert job["state"] == "failed"
    assert said in job["reason"]
