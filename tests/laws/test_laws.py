# SPDX-License-Identifier: Apache-2.0
"""The laws of docs/architecture.md, each shown on the real parts."""

from __future__ import annotations

import io
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from minio import Minio, S3Error
from parts.site import Site, file_service
from parts.waiting import eventually

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, MachineView, NodeView, Pool
from oscar_fedcloud.autoscaler.planning.decide import decide

COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'


def put(client: Minio, bucket: str, key: str, body: bytes = b"content") -> None:
    client.put_object(bucket, key, io.BytesIO(body), len(body))


def declare(site: Site, name: str, script: str = COPY, **more: Any) -> None:
    site.daemon.apply(file_service(name, script, **more))
    site.daemon.wait_ready(name)


def event(bucket: str, key: str, sequencer: str = "18C0000000000000", etag: str = "e1") -> dict[str, Any]:
    """A notification as MinIO sends it."""
    record = {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "eventName": "s3:ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "size": 7, "eTag": etag, "sequencer": sequencer}},
    }
    return {"EventName": "s3:ObjectCreated:Put", "Key": f"{bucket}/{key}", "Records": [record]}


def post_hook(site: Site, body: bytes, token: str | None = None, timeout: float = 40) -> httpx.Response:
    url = f"{site.daemon.url}/hooks/minio/minio.default/durable"
    headers = {"Authorization": f"Bearer {site.minio.durable_token if token is None else token}"}
    return httpx.post(url, content=body, headers=headers, timeout=timeout)


def objects(client: Minio, bucket: str, prefix: str) -> list[str]:
    return [item.object_name for item in client.list_objects(bucket, prefix, recursive=True)]


def test_no_acknowledgement_before_the_commit(site: Site) -> None:
    """While the ledger cannot commit, the webhook does not say yes; when it can again, the event is there."""
    declare(site, "law1a", concurrency=1)
    database = sqlite3.connect(site.daemon.folder / "data" / "ledger.db", timeout=10, isolation_level=None)
    database.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(httpx.TimeoutException):
            post_hook(site, json.dumps(event("law1a", "in/held")).encode(), timeout=2)
    finally:
        database.execute("ROLLBACK")
        database.close()
    assert post_hook(site, json.dumps(event("law1a", "in/held")).encode()).status_code == 200
    assert [job["key"] for job in site.daemon.jobs(service="law1a")] == ["in/held"]


def test_what_no_event_told_is_found_by_listing(site: Site) -> None:
    declare(site, "law1b")
    client = site.minio.client()
    client.delete_bucket_notification("law1b")
    put(client, "law1b", "in/untold")
    jobs = site.daemon.wait_jobs(1, timeout=20, service="law1b")
    assert [(job["key"], job["via"], job["state"]) for job in jobs] == [("in/untold", "listing", "succeeded")]


def test_a_bad_event_is_kept_and_acknowledged_and_a_forged_one_is_not(site: Site) -> None:
    with site.daemon.client() as client:

        def letters() -> int:
            return len(client.get("/v2/dead-letters").json()["dead_letters"])

        before, jobs = letters(), len(site.daemon.jobs())
        assert post_hook(site, b'{"Records": [{"s3": 5}]}').status_code == 200
        assert letters() == before + 1
        assert post_hook(site, json.dumps(event("law1a", "in/forged")).encode(), token="0" * 32).status_code == 401
        assert post_hook(site, b'{"Records": [{"s3": 5}]}', token="none").status_code == 401
        assert letters() == before + 1
        assert len(site.daemon.jobs()) == jobs


def test_one_success_however_often_the_event_comes(site: Site, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    script = f'echo "$STORAGE_OBJECT_KEY" >> {journal}\n'
    declare(site, "law2", script)
    put(site.minio.client(), "law2", "in/once")
    (job,) = site.daemon.wait_jobs(1, service="law2")
    milliseconds, _, etag = job["revision"].partition("-")
    again = event("law2", "in/once", f"{int(milliseconds, 16) * 1_000_000 + 5:X}", etag)
    for _ in range(3):
        assert post_hook(site, json.dumps(again).encode()).status_code == 200
    site.daemon.kill()
    site.daemon.start()
    assert post_hook(site, json.dumps(again).encode()).status_code == 200
    time.sleep(1)
    assert [found["id"] for found in site.daemon.wait_jobs(1, service="law2")] == [job["id"]]
    assert journal.read_text().count("in/once") == 1


def test_minio_is_not_restarted_for_a_service(site: Site) -> None:
    def uptime() -> float:
        return float(json.loads(site.minio.admin().info())["servers"][0]["uptime"])

    eventually(lambda: uptime() >= 4)
    pid, before, begin = site.minio.pid, uptime(), time.monotonic()
    declare(site, "law3")
    site.daemon.apply(file_service("law3", COPY, memory="1Gi"))
    site.daemon.remove("law3")
    assert site.minio.pid == pid
    assert uptime() >= before + time.monotonic() - begin - 2


def test_the_job_holds_no_key_but_its_services_own(site: Site, tmp_path: Path) -> None:
    """What the runner is given opens the service's own inputs and outputs, and nothing else."""
    declare(site, "law4", "sleep 5\n")
    client = site.minio.client()
    client.make_bucket("law4-other")
    put(client, "law4-other", "secret")
    put(client, "law4", "in/a")

    def environment() -> bytes | None:
        files = list((site.daemon.folder / "data" / "jobs").glob("law4-*/**/*"))
        texts = [path.read_bytes() for path in files if path.is_file()]
        return next((text for text in texts if b"SECRET_ACCESS_KEY" in text), None)

    found = eventually(environment)
    assert site.minio.secret_key.encode() not in found
    keys = json.loads((site.daemon.folder / "data" / "services" / ".keys" / "law4.json").read_bytes())["minio.default"]
    own = site.minio.client(keys["access_key"], keys["secret_key"])
    own.get_object("law4", "in/a").close()
    for bucket, key in (("law4-other", "secret"), ("law4", "elsewhere/a"), ("oscar-internal", "law2/x")):
        with pytest.raises(S3Error, match="AccessDenied"):
            own.get_object(bucket, key)
        with pytest.raises(S3Error, match="AccessDenied"):
            put(own, bucket, key)


def test_the_exit_code_decides(site: Site) -> None:
    declare(site, "law5", COPY + "exit 3\n")
    put(site.minio.client(), "law5", "in/a")
    (job,) = site.daemon.wait_jobs(1, service="law5")
    assert job["state"] == "failed"
    with site.daemon.client() as client:
        (attempt,) = client.get(f"/v2/jobs/{job['id']}").json()["attempt_list"]
    assert (attempt["state"], attempt["exit_code"]) == ("failed", 3)
    assert objects(site.minio.client(), "law5", "out/") == []


def test_declaring_again_writes_nothing(site: Site) -> None:
    service = file_service("law6", COPY, environment={"variables": {"A": "b"}, "secrets": {"S": "hush"}})
    first = site.daemon.apply(service)
    site.daemon.wait_ready("law6")
    folder = site.daemon.folder / "data" / "services"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    second = site.daemon.apply(service)
    assert (first["changed"], second["changed"]) == (True, False)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")} == before
    changed = site.daemon.apply({**service, "memory": "2Gi"})
    assert [change["path"] for change in changed["plan"][0]["changes"]] == ["memory"]


def test_data_outlives_its_service(site: Site) -> None:
    declare(site, "law7")
    client = site.minio.client()
    put(client, "law7", "in/a")
    site.daemon.wait_jobs(1, service="law7")
    site.daemon.remove("law7")
    with site.daemon.client() as http:
        assert http.get("/v2/services/law7").status_code == 404
    assert objects(client, "law7", "") == ["in/a", "out/a"]
    site.daemon.apply(file_service("law7", COPY))
    site.daemon.remove("law7", data="delete")
    assert not client.bucket_exists("law7")


def test_the_autoscaler_never_kills_work() -> None:
    """A cordoned node goes after a pause, without Jobs, while the API server answers; the rest is in tests/unit."""

    def steps(cordoned: float = 60.0, jobs: int = 0, trustworthy: bool = True) -> list[str]:
        idle_since = None if jobs else 0.0
        node = NodeView("a", "small", True, False, {}, (), {"cpu": 1000}, jobs=jobs, idle_since=idle_since)
        machine = MachineView("a", "small", "draining", since=1000.0 - cordoned, asked=0.0)
        snapshot = ClusterSnapshot(1000.0, (), {"a": node}, {"a": machine}, trustworthy=trustworthy)
        decision = decide(snapshot, [Pool("small", "cloud", {}, {"cpu": 1000})])
        return [removal.step for removal in decision.removals]

    assert steps() == ["remove"]
    assert steps(jobs=1) == ["uncordon"]
    assert steps(trustworthy=False) == []
    assert steps(cordoned=1.0) == []
