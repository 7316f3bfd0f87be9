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


def _seconds_of_next(site: Deployed, where: str, seen: set[str]) -> float:
    """How long the Job took that has ended since; the cluster removes those that have been there for a while."""
    while True:
        for job in _jobs(site, where):
            name, status = job["metadata"]["name"], job["status"]
            if name not in seen and "completionTime" in status:
                seen.add(name)
                begin, end = (datetime.fromisoformat(status[field]) for field in ("startTime", "completionTime"))
                return (end - begin).total_seconds()
        time.sleep(0.5)


def main(folder: Path) -> None:
    with names_known():
        site = Deployed(Ansible("2.16", folder / "ansible"), folder, ca_file=folder / "ca.crt")
        site.ca_file.write_text(site.ssh(FRONT, "cat /etc/caddy/ca.crt"), encoding="utf-8")
        copy = file_service("bench", 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n', image=IMAGE)
        site.declare({"functions": {"oscar": [{"site": copy}]}})
        site.ssh(FRONT, f"{KUBECTL} delete namespace bench --ignore-not-found && {KUBECTL} create namespace bench")
        s3, seen = site.s3(), {job["metadata"]["name"] for job in _jobs(site, OURS)}
        ours, bare = [], []
        for number in range(ROUNDS):
            s3.put_object(Bucket="bench", Key=f"in/{time.time()}", Body=b"x")
            ours.append(_seconds_of_next(site, OURS, seen))
            site.ssh(FRONT, f"{KUBECTL} create job {BARE} bare-{number} --image {IMAGE} -- true")
            bare.append(_seconds_of_next(site, BARE, seen))
        site.ssh(FRONT, f"{KUBECTL} delete namespace bench")
    mean, least = statistics.mean(ours), statistics.mean(bare)
    print(f"a Job with its file {mean:.2f} s, a bare one {least:.2f} s: {mean - least:+.2f} s (mean of {ROUNDS})")
