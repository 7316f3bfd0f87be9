# SPDX-License-Identifier: Apache-2.0
"""How much longer a Job takes that fetches a file, runs one line and stores the result, than a bare Job of its image.

On the test site (``make site-up`` and the playbook ``site`` come first), with both in turn. Kubernetes tells the times
of a Job in whole seconds, so their mean counts.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "site"))

from deployed import FRONT, Deployed, names_known
from parts.ansible_run import Ansible
from parts.site import file_service

ROUNDS = 30
IMAGE = "docker.io/library/busybox:1.36"
KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
OURS, BARE = "-n oscar-services -l oscar.fedcloud.eu/service=bench", "-n bench"


def _jobs(site: Deployed, where: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(site.ssh(FRONT, f"{KUBECTL} get jobs {where} -o json"))["items"]
    return found


def _wait(site: Deployed, where: str, count: int) -> None:
    while sum("completionTime" in job["status"] for job in _jobs(site, where)) < count:
        time.sleep(0.5)


def _seconds(jobs: list[dict[str, Any]]) -> float:
    def one(job: dict[str, Any]) -> float:
        begin, end = (datetime.fromisoformat(job["status"][name]) for name in ("startTime", "completionTime"))
        return (end - begin).total_seconds()

    return statistics.mean(one(job) for job in jobs)


def main(folder: Path) -> None:
    with names_known():
        site = Deployed(Ansible("2.16", folder / "ansible"), folder)
        copy = file_service("bench", 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n', image=IMAGE)
        site.declare({"functions": {"oscar": [{"site": copy}]}})
        site.ssh(FRONT, f"{KUBECTL} create namespace bench")
        s3, there = site.s3(), len(_jobs(site, OURS))
        for number in range(ROUNDS):
            s3.put_object(Bucket="bench", Key=f"in/{time.time()}", Body=b"x")
            _wait(site, OURS, there + number + 1)
            site.ssh(FRONT, f"{KUBECTL} create job {BARE} bare-{number} --image {IMAGE} -- true")
            _wait(site, BARE, number + 1)
        ours, bare = _seconds(_jobs(site, OURS)), _seconds(_jobs(site, BARE))
        site.ssh(FRONT, f"{KUBECTL} delete namespace bench")
        print(f"a Job with its file {ours:.2f} s, a bare one {bare:.2f} s: {ours - bare:+.2f} s (mean of {ROUNDS})")
