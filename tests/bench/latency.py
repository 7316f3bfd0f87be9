# SPDX-License-Identifier: Apache-2.0
"""From an answered upload to MinIO until the run starts and until its script does."""

from __future__ import annotations

import io
import statistics
import time
from datetime import datetime
from pathlib import Path

from parts.site import file_service, running_site

UPLOADS = 40


def main(folder: Path) -> None:
    journal = folder / "journal"
    journal.touch()
    script = f'echo "$STORAGE_OBJECT_KEY $(date +%s.%N)" >> {journal}\n'
    with running_site(folder) as site:
        site.daemon.apply(file_service("bench", script))
        site.daemon.wait_ready("bench")
        client, uploaded = site.minio.client(), {}
        for number in range(UPLOADS):
            key = f"in/{number}"
            client.put_object("bench", key, io.BytesIO(b"x"), 1)
            uploaded[key] = time.time()
            site.daemon.wait_jobs(number + 1, service="bench")
        started = {}
        with site.daemon.client() as http:
            for job in site.daemon.jobs(service="bench"):
                (attempt,) = http.get(f"/v2/jobs/{job['id']}").json()["attempt_list"]
                started[job["key"]] = datetime.fromisoformat(attempt["started"]).timestamp()
    scripts = {
        key.split("/", 1)[-1]: float(when) for key, when in (line.split() for line in journal.read_text().splitlines())
    }
    report("upload -> run started", [started[key] - when for key, when in uploaded.items()])
    report("upload -> script begins", [scripts[key.split("/", 1)[-1]] - when for key, when in uploaded.items()])


def report(name: str, waits: list[float]) -> None:
    waits = sorted(wait * 1000 for wait in waits)
    print(
        f"{name:24} p50 {statistics.median(waits):7.1f} ms   max {waits[-1]:7.1f} ms   ({len(waits)} uploads, in turn)"
    )
