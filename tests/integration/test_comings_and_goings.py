# SPDX-License-Identifier: Apache-2.0
"""Services that are declared and removed while the reconciler is at work on them."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from minio import S3Error
from parts.site import Site, file_service, running_site

COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'
ROUNDS = 12


def come_and_go(site: Site, name: str) -> None:
    client = site.minio.client()
    for number in range(ROUNDS):
        site.daemon.apply(file_service(name, COPY))
        with contextlib.suppress(S3Error):  # its bucket may not be there yet
            client.fput_object(name, f"in/{number}", __file__)
        site.daemon.apply(file_service(name, COPY, memory="1Gi"))
        site.daemon.remove(name)


def test_the_daemon_outlives_services_that_vanish_under_it(tmp_path: Path) -> None:
    with running_site(tmp_path, reconcile_interval=0.1, listing_interval=0.2) as site:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: come_and_go(site, f"flap{number}"), range(4)))
        site.daemon.apply(file_service("stays", COPY))
        site.daemon.wait_ready("stays")
        site.minio.client().fput_object("stays", "in/last", __file__)
        (job,) = site.daemon.wait_jobs(1, service="stays")
        assert job["state"] == "succeeded"
        log = site.daemon.log_file.read_text()
        assert "ended unexpectedly" not in log
