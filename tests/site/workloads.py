# SPDX-License-Identifier: Apache-2.0
"""Services on the test site, the files that are put into it, and what its machines hold."""

from __future__ import annotations

import io

from deployed import FRONT, WORKERS, Deployed
from parts.site import file_service

COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'
BUSYBOX = "docker.io/library/busybox:1.36"

# What a playbook could write, and when each unit was started.
STATE = (
    "find /etc /opt /usr/local /var/lib/kubelet/config.yaml -xdev -type f ! -name '*.db*' ! -name '.*' "
    "-exec sha256sum {} + | sort -k 2; "
    "systemctl show --property=Id,ActiveEnterTimestampMonotonic "
    "containerd kubelet minio caddy oscar-invoker oscar-firewall 2>/dev/null"
)


def state(site: Deployed) -> dict[str, list[str]]:
    return {host: site.ssh(host, STATE).splitlines() for host in (FRONT, *WORKERS)}


def service(name: str, script: str, **more: object) -> dict[str, object]:
    """An FDL document of one service on the image that the site mirror has."""
    declared = {**file_service(name, "#!/bin/sh\n" + script), "image": BUSYBOX, "memory": "64Mi", "cpu": "0.1", **more}
    return {"functions": {"oscar": [{"oscar-cluster": declared}]}}


def put(site: Deployed, bucket: str, key: str, body: bytes = b"content") -> None:
    site.s3().upload_fileobj(io.BytesIO(body), bucket, key)


def put_many(site: Deployed, bucket: str, count: int) -> None:
    client = site.s3()
    for number in range(count):
        client.upload_fileobj(io.BytesIO(b"content"), bucket, f"in/{number}")


def outputs(site: Deployed, bucket: str, prefix: str = "out/") -> dict[str, int]:
    """Key -> size of what lies there."""
    pages = site.s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}


def assert_each_once(site: Deployed, name: str, count: int, timeout: float = 900) -> None:
    """One recorded success for each file, its output, and one run of the script, since no node was lost."""
    jobs = site.wait_jobs(count, timeout=timeout, service=name)
    assert sorted(job["key"] for job in jobs) == sorted(f"in/{number}" for number in range(count))
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert {job["attempts"] for job in jobs} == {1}
    assert len(outputs(site, name)) == count
