# SPDX-License-Identifier: Apache-2.0
"""What happens to files: chains, retries, order, baselines, limits, cancelling, callbacks. All on real MinIO."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from minio.commonconfig import ENABLED, CopySource
from minio.versioningconfig import VersioningConfig
from parts.site import Site, file_service, running_site
from parts.waiting import eventually

MAX_BODY = 1_000_000  # bytes
COPY = 'cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("flow"), reconcile_interval=1.0, max_body=MAX_BODY) as running:
        yield running


def put(site: Site, bucket: str, key: str, body: bytes = b"content") -> None:
    site.minio.client().put_object(bucket, key, io.BytesIO(body), len(body))


def get(client: Minio, bucket: str, key: str) -> bytes:
    with client.get_object(bucket, key) as answer:
        return bytes(answer.read())


def declare(site: Site, *services: dict[str, Any]) -> None:
    site.daemon.apply(*services)
    site.daemon.wait_ready(*(service["name"] for service in services))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_every_way_of_writing_an_object_starts_one_run(site: Site) -> None:
    declare(site, file_service("ways", COPY))
    client = site.minio.client()
    put(site, "ways", "in/put")
    client.copy_object("ways", "in/copy", CopySource("ways", "in/put"))
    big = b"x" * (11 * 1024 * 1024)
    client.put_object("ways", "in/multipart", io.BytesIO(big), len(big), part_size=5 * 1024 * 1024)
    put(site, "ways", "in/folder/")
    jobs = site.daemon.wait_jobs(3, service="ways")
    assert sorted(job["key"] for job in jobs) == ["in/copy", "in/multipart", "in/put"]
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert get(client, "ways", "out/multipart") == big


def test_a_retried_first_step_does_not_run_the_second_twice(site: Site, tmp_path: Path) -> None:
    """The first step stages its output, then its process is lost; the same output is not written again."""
    journal, marker = tmp_path / "second", tmp_path / "failed-once"
    first = file_service(
        "chain1", f"{COPY}[ -e {marker} ] || {{ touch {marker}; exit 7; }}\n", retry={"attempts": 2, "backoff": 0.1}
    )
    first["output"][0]["path"] = "chain2/in"
    second = file_service("chain2", f'echo "$STORAGE_OBJECT_KEY" >> {journal}\n{COPY}')
    declare(site, first, second)
    put(site, "chain1", "in/a")
    (job,) = site.daemon.wait_jobs(1, service="chain1")
    assert (job["state"], job["attempts"]) == ("succeeded", 2)
    site.daemon.wait_jobs(1, service="chain2")
    with site.daemon.client() as client:
        assert client.post(f"/v2/jobs/{job['id']}:replay").status_code == 200
    eventually(lambda: site.daemon.jobs(service="chain1")[0]["attempts"] == 3)
    site.daemon.wait_jobs(1, service="chain1")
    time.sleep(2)
    assert len(site.daemon.jobs(service="chain2")) == 1
    assert len(lines(journal)) == 1
    assert get(site.minio.client(), "chain2", "out/a") == b"content"


def test_an_overwritten_input_is_superseded(site: Site, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    declare(
        site, file_service("order", f'cat "$INPUT_FILE_PATH" >> {journal}; echo >> {journal}; sleep 1\n', concurrency=1)
    )
    put(site, "order", "in/blocker", b"blocker")
    eventually(lambda: lines(journal))
    for version in (b"one", b"two", b"three"):
        put(site, "order", "in/same", version)
    jobs = site.daemon.wait_jobs(4, service="order")
    assert sorted(job["state"] for job in jobs if job["key"] == "in/same") == ["succeeded", "superseded", "superseded"]
    assert lines(journal) == ["blocker", "three"]
    with site.daemon.client() as client:
        answers = client.get("/v2/why", params={"bucket": "order", "key": "in/same"}).json()["answers"]
    assert [answer["answer"] for answer in answers] == ["ran", "superseded", "superseded"]


def test_runs_of_one_key_never_overlap(site: Site, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    script = f"echo begin >> {journal}; sleep 0.5; echo end >> {journal}\n"
    declare(site, file_service("serial", script, concurrency=4))
    for number in range(4):
        put(site, "serial", "in/key", str(number).encode())
        time.sleep(0.4)
    site.daemon.wait_jobs(4, service="serial")
    assert lines(journal) == ["begin", "end"] * (len(lines(journal)) // 2)


def test_a_rule_deleted_by_hand_is_repaired_and_others_are_kept(site: Site) -> None:
    declare(site, file_service("repair", COPY))
    client = site.minio.client()
    config = client.get_bucket_notification("repair")
    ours = len(config.queue_config_list)
    client.delete_bucket_notification("repair")
    put(site, "repair", "in/missed")
    jobs = site.daemon.wait_jobs(1, service="repair")
    assert [(job["key"], job["via"]) for job in jobs] == [("in/missed", "listing")]
    assert len(client.get_bucket_notification("repair").queue_config_list) == ours
    put(site, "repair", "in/told")
    jobs = site.daemon.wait_jobs(2, service="repair")
    assert {job["key"]: job["via"] for job in jobs}["in/told"] in ("fast", "durable")


@pytest.mark.parametrize("versioned", [False, True])
def test_a_service_on_a_full_bucket_runs_nothing_old(site: Site, versioned: bool) -> None:
    name = f"full{versioned}".lower()
    client = site.minio.client()
    client.make_bucket(name)
    if versioned:
        client.set_bucket_versioning(name, VersioningConfig(ENABLED))
    for number in range(20):
        put(site, name, f"in/old{number}")
    declare(site, file_service(name, COPY))
    put(site, name, "in/new")
    put(site, name, "in/old3", b"newer content")
    site.daemon.stop()
    site.daemon.start()
    jobs = site.daemon.wait_jobs(2, service=name)
    time.sleep(1.5)
    assert sorted(job["key"] for job in site.daemon.jobs(service=name)) == ["in/new", "in/old3"], jobs
    with site.daemon.client() as http:
        (answer,) = http.get("/v2/why", params={"bucket": name, "key": "in/old0"}).json()["answers"]
    assert (answer["service"], answer["answer"]) == (name, "baseline")


def test_existing_objects_run_when_asked_for(site: Site) -> None:
    client = site.minio.client()
    client.make_bucket("existing")
    for number in range(3):
        put(site, "existing", f"in/old{number}")
    service = file_service("existing", COPY)
    service["input"][0]["existing"] = "process"
    declare(site, service)
    assert len(site.daemon.wait_jobs(3, service="existing")) == 3


def test_suffix_and_filter_leave_files_out_and_say_so(site: Site) -> None:
    service = file_service("filters", COPY, filter="s3.object.size > `3`")
    service["input"][0]["suffix"] = [".jpg"]
    declare(site, service)
    put(site, "filters", "in/a.txt", b"long enough")
    put(site, "filters", "in/b.jpg", b"no")
    put(site, "filters", "in/c.jpg", b"long enough")
    put(site, "filters", "elsewhere", b"long enough")
    jobs = site.daemon.wait_jobs(1, service="filters")
    assert [job["key"] for job in jobs] == ["in/c.jpg"]
    with site.daemon.client() as client:

        def why(key: str) -> dict[str, Any]:
            return client.get("/v2/why", params={"bucket": "filters", "key": key}).json()["answers"][0]

        eventually(lambda: why("in/b.jpg")["answer"] == "filtered")
        assert why("in/a.txt")["answer"] == "filtered"
        assert "filter" in why("in/b.jpg")["detail"]
        assert why("in/c.jpg")["answer"] == "ran"
        assert why("elsewhere")["answer"] == "no_service"


def test_concurrency_of_a_service_is_a_limit(site: Site, tmp_path: Path) -> None:
    running = tmp_path / "running"
    running.mkdir()
    script = f"d=$(mktemp {running}/XXXXXX); ls {running} | wc -l >> {tmp_path}/counts; sleep 0.3; rm $d\n"
    declare(site, file_service("limited", script, concurrency=1))
    for number in range(4):
        put(site, "limited", f"in/{number}")
    site.daemon.wait_jobs(4, service="limited")
    assert {line.strip() for line in lines(tmp_path / "counts")} == {"1"}


def test_timeout_and_retry_and_dead_letter_and_replay(site: Site, tmp_path: Path) -> None:
    switch = tmp_path / "fixed"
    script = f"echo tried >> {tmp_path}/tries; [ -e {switch} ] || sleep 60\n{COPY}"
    declare(site, file_service("slow", script, timeout=4, retry={"attempts": 2, "backoff": 0.1}))
    put(site, "slow", "in/a")
    (job,) = site.daemon.wait_jobs(1, service="slow")
    assert (job["state"], job["attempts"]) == ("failed", 2)
    assert len(lines(tmp_path / "tries")) == 2
    with site.daemon.client() as client:
        attempts = client.get(f"/v2/jobs/{job['id']}").json()["attempt_list"]
        assert {attempt["state"] for attempt in attempts} == {"timeout"}
        switch.touch()
        assert client.post(f"/v2/jobs/{job['id']}:retry").status_code == 200
        (job,) = site.daemon.wait_jobs(1, service="slow")
        assert (job["state"], job["attempts"]) == ("succeeded", 3)
        assert client.post(f"/v2/jobs/{job['id']}:retry").status_code == 409


def test_cancel_a_running_and_a_queued_job(site: Site, tmp_path: Path) -> None:
    declare(
        site,
        file_service("cancel", f"echo $$ >> {tmp_path}/started; sleep 60; echo >> {tmp_path}/ended\n", concurrency=1),
    )
    put(site, "cancel", "in/a")
    eventually(lambda: lines(tmp_path / "started"))
    put(site, "cancel", "in/b")
    eventually(lambda: len(site.daemon.jobs(service="cancel")) == 2)
    with site.daemon.client() as client:
        for job in site.daemon.jobs(service="cancel"):
            assert client.post(f"/v2/jobs/{job['id']}:cancel").status_code == 200
    jobs = site.daemon.wait_jobs(2, service="cancel")
    assert {job["state"] for job in jobs} == {"cancelled"}
    assert len(lines(tmp_path / "started")) == 1
    assert not lines(tmp_path / "ended")


def test_a_deleted_input_is_said_to_be_gone(site: Site) -> None:
    declare(site, file_service("gone", "sleep 1\n", concurrency=1))
    put(site, "gone", "in/a")
    put(site, "gone", "in/b")
    eventually(lambda: len(site.daemon.jobs(service="gone")) == 2)
    waiting = [job for job in site.daemon.jobs(service="gone") if job["state"] == "queued"]
    site.minio.client().remove_object("gone", waiting[0]["key"])
    jobs = site.daemon.wait_jobs(2, service="gone")
    assert sorted(job["state"] for job in jobs) == ["input_gone", "succeeded"]


def test_a_body_by_http_is_staged_like_a_file(site: Site) -> None:
    declare(
        site,
        {"name": "body", "image": "none", "script": 'tr a-z A-Z < "$INPUT_FILE_PATH"; env | grep -c AWS_ || true\n'},
    )
    with site.daemon.client() as client:
        bodies = [
            b"plain text",
            b"\x00\xff binary",
            b'{"event": "mine", "event_type": 3}',
            b"[1, 2]",
            b"5",
            b"x" * 300_000,
        ]
        answers = [client.post("/v2/services/body/jobs", content=body) for body in bodies]
        assert {answer.status_code for answer in answers} == {202}
        first = client.post("/v2/services/body/jobs", content=b"once", headers={"Idempotency-Key": "k1"})
        second = client.post("/v2/services/body/jobs", content=b"once", headers={"Idempotency-Key": "k1"})
        assert first.headers["X-Oscar-Job-Id"] == second.headers["X-Oscar-Job-Id"]
        jobs = site.daemon.wait_jobs(7, service="body")
        assert [job["state"] for job in jobs] == ["succeeded"] * 7
        log = client.get(f"/v2/jobs/{answers[0].headers['X-Oscar-Job-Id']}/log").text
    assert "PLAIN TEXT" in log


def in_chunks(size: int) -> Iterator[bytes]:
    """A body whose length no header tells."""
    for start in range(0, size, 100_000):
        yield bytes(min(100_000, size - start))


def test_what_is_too_large_is_refused_and_leaves_nothing(site: Site) -> None:
    declare(site, {"name": "large", "image": "none", "script": "true\n"})
    place = {"bucket": {"name": "large"}, "object": {"key": "in/a", "size": 1, "sequencer": "18EAE6B1867E3AF3"}}
    record = {"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put", "s3": place, "padding": "x" * 64 * 1024}
    event = json.dumps({"Records": [record]}).encode()
    with site.daemon.client() as client:
        for path in ("/v2/services/large/jobs", "/job/large"):
            refused = client.post(path, content=event)
            assert (refused.status_code, "at most 65536 are taken" in refused.text) == (413, True)
            for body in (bytes(MAX_BODY + 1), in_chunks(MAX_BODY + 1), in_chunks(20 * MAX_BODY)):
                refused = client.post(path, content=body)
                assert (refused.status_code, str(MAX_BODY) in refused.text) == (413, True), refused.text
        assert client.get("/v2/jobs?service=large").json()["jobs"] == []
        assert client.get("/v2/dead-letters").json()["dead_letters"] == []
        assert client.post("/v2/services/large/jobs", content=in_chunks(MAX_BODY)).status_code == 202
    assert [job["state"] for job in site.daemon.wait_jobs(1, service="large")] == ["succeeded"]


class Receiver(BaseHTTPRequestHandler):
    """Refuses the first request, and notes the others."""

    received: list[tuple[bytes, str]] = []  # noqa: RUF012
    refused = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if Receiver.refused == 0:
            Receiver.refused += 1
            self.send_response(503)
        else:
            Receiver.received.append((body, self.headers["X-Oscar-Signature"]))
            self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/done"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_callbacks_are_signed_and_repeated_until_taken(site: Site) -> None:
    with receiver() as url:
        declare(site, file_service("callback", "exit 4\n", callback=url))
        put(site, "callback", "in/a")
        eventually(lambda: Receiver.received, 60)
        body, signature = Receiver.received[0]
        with site.daemon.client() as client:
            token = client.get("/system/services/callback").json()["token"]
    assert signature == "sha256=" + hmac.new(token.encode(), body, hashlib.sha256).hexdigest()
    message = json.loads(body)
    assert (message["service"], message["key"], message["state"]) == ("callback", "in/a", "failed")
    assert Receiver.refused == 1


def test_rollback_declares_the_former_revision(site: Site) -> None:
    declare(site, file_service("roll", COPY))
    site.daemon.apply(file_service("roll", COPY, memory="1Gi"))
    with site.daemon.client() as client:
        assert client.post("/v2/services/roll:rollback").status_code == 200
        view = client.get("/v2/services/roll").json()
        assert (view["document"]["memory"], view["revision"]) == ("256Mi", "3")
        revisions = client.get("/v2/services/roll/revisions").json()["revisions"]
    assert [one["revision"] for one in revisions] == ["3", "2", "1"]


def test_a_loop_is_refused_whichever_service_closes_it(site: Site) -> None:
    declare(site, file_service("loop1", COPY))
    closing = file_service("loop2", COPY)
    closing["input"][0]["path"], closing["output"][0]["path"] = "loop1/out", "loop1/in"
    with site.daemon.client() as client:
        answer = client.post("/v2/services:apply", json={"services": [closing]})
    assert answer.status_code == 422
    assert "loop" in answer.json()["errors"][0]["message"]


def test_removing_a_service_ends_its_jobs_and_no_others(site: Site, tmp_path: Path) -> None:
    """Also those of a service whose name goes on where the removed one ends."""
    script = f"echo $$ >> {tmp_path}/started; sleep 60\n"
    declare(site, file_service("doomed", script, concurrency=1), file_service("doomed-not", "true\n"))
    for key in ("in/a", "in/b"):
        put(site, "doomed", key)
    eventually(lambda: lines(tmp_path / "started") and len(site.daemon.jobs(service="doomed")) == 2)
    site.daemon.remove("doomed")
    jobs = site.daemon.wait_jobs(2, service="doomed")
    assert [job["state"] for job in jobs] == ["cancelled", "cancelled"]
    put(site, "doomed-not", "in/a")
    assert [job["state"] for job in site.daemon.wait_jobs(1, service="doomed-not")] == ["succeeded"]
