# SPDX-License-Identifier: Apache-2.0
"""``oscar`` against an invoker that a real MinIO tells of each upload."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from parts.site import Site
from parts.standalone import Person
from parts.waiting import eventually

UPPER = """#!/bin/sh
echo "working on ${INPUT_FILE_PATH##*/}"
tr a-z A-Z <"$INPUT_FILE_PATH" >"$TMP_OUTPUT_DIR/${INPUT_FILE_PATH##*/}"
"""
FDL = """\
functions:
  oscar:
    - here:
        name: {name}
        image: busybox
        script: {name}.sh
        input: [{{storage_provider: minio.default, path: {name}/in}}]
        output: [{{storage_provider: minio.default, path: {name}/out}}]
"""


@pytest.fixture(scope="module")
def person(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Person:
    home = tmp_path_factory.mktemp("home")
    daemon = site.daemon
    signed_in = {"OSCAR_ENDPOINT": daemon.url, "OSCAR_USERNAME": daemon.username, "OSCAR_PASSWORD": daemon.password}
    return Person(home, signed_in)


def declare(person: Person, name: str, script: str) -> None:
    (person.home / f"{name}.sh").write_text(script)
    fdl = person.home / f"{name}.fdl.yml"
    fdl.write_text(FDL.format(name=name))
    person.oscar("apply", "--yes", fdl)


def jobs(person: Person, service: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(person.oscar("jobs", service, "-o", "json"))
    return found


def test_a_folder_is_sent_and_each_result_comes_back(person: Person, tmp_path: Path) -> None:
    declare(person, "upper", UPPER)
    texts = {"a b.txt": "one", "ü.txt": "two", "deep/$(id).txt": "three"}
    for name, text in texts.items():
        (tmp_path / "sent" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sent" / name).write_text(text)
    person.oscar("put", tmp_path / "sent", "upper", "--wait", "--dest", tmp_path / "results")
    found = {path.name: path.read_text() for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert found == {Path(name).name: text.upper() for name, text in texts.items()}
    assert {job["state"] for job in jobs(person, "upper")} == {"succeeded"}
    assert len(jobs(person, "upper")) == len(texts)
    newest = jobs(person, "upper")[0]
    assert f"working on {newest['key'].rpartition('/')[2]}\n" in person.oscar("logs", newest["id"])
    assert "succeeded" in person.oscar("job", newest["id"])


def test_why_names_the_folder_that_is_watched(site: Site, person: Person) -> None:
    declare(person, "watched", UPPER)
    site.minio.client().put_object("watched", "elsewhere/a.txt", io.BytesIO(b"x"), 1)
    told = eventually(lambda: [text for text in [person.oscar("why", "watched/elsewhere/a.txt")] if "watched" in text])[
        0
    ]
    assert "watches" in told
    assert "in/" in told
    assert not jobs(person, "watched")


def test_a_job_that_failed_is_retried(person: Person, tmp_path: Path) -> None:
    mark = tmp_path / "good"
    declare(person, "moody", f'#!/bin/sh\necho "mood: $(ls {mark} 2>&1)"\n[ -e {mark} ] || exit 3\n{UPPER}')
    (tmp_path / "x.txt").write_text("x")
    assert "failed" in person.oscar("put", tmp_path / "x.txt", "moody", "--wait", code=3)
    (job,) = jobs(person, "moody")
    assert "exit code 3" in person.oscar("job", job["id"])
    assert "No such file" in person.oscar("logs", job["id"])
    mark.touch()
    person.oscar("retry", job["id"])
    person.oscar("logs", "--follow", job["id"])
    assert jobs(person, "moody")[0]["state"] == "succeeded"
    person.oscar("fetch", "moody", "--dest", tmp_path / "results")
    assert (tmp_path / "results" / "x.txt").read_text() == "X"
    person.oscar("retry", job["id"], code=1)


def test_a_running_job_is_cancelled_and_writes_nothing(person: Person, tmp_path: Path) -> None:
    declare(person, "slow", f"#!/bin/sh\necho begun\ntouch {tmp_path}/begun\nsleep 600\n{UPPER}")
    (tmp_path / "x.txt").write_text("x")
    person.oscar("put", tmp_path / "x.txt", "slow")
    eventually((tmp_path / "begun").exists)
    (job,) = jobs(person, "slow")
    assert job["state"] == "running"
    person.oscar("cancel", job["id"])
    person.oscar("logs", "--follow", job["id"])
    assert jobs(person, "slow")[0]["state"] == "cancelled"
    assert person.oscar("ls", "s3://slow/out/", "-o", "name") == ""
    assert "cancelled" in person.oscar("fetch", job["id"], code=3)


def test_objects_are_listed_fetched_and_deleted(person: Person, tmp_path: Path) -> None:
    person.oscar("buckets", "create", "plain")
    key = "s3://plain/deep/ä 100%?#.bin"
    content = bytes(range(256)) * 100
    (tmp_path / "sent").write_bytes(content)
    person.oscar("cp", tmp_path / "sent", key)
    assert person.oscar("ls", "s3://plain/", "-o", "name").splitlines() == [key]
    person.oscar("cp", key, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == content
    person.oscar("buckets", "delete", "plain", "--yes", code=1)
    person.oscar("rm", key, "--yes")
    person.oscar("rm", key, "--yes", code=4)
    person.oscar("buckets", "delete", "plain", "--yes")
    person.oscar("ls", "s3://plain/", code=4)


def test_a_service_leaves_its_data(site: Site, person: Person, tmp_path: Path) -> None:
    declare(person, "leaving", UPPER)
    (tmp_path / "x.txt").write_text("x")
    person.oscar("put", tmp_path / "x.txt", "leaving", "--wait")
    person.oscar("delete", "leaving", "--yes")
    person.oscar("describe", "leaving", code=4)
    assert site.minio.client().get_object("leaving", "out/x.txt").data == b"X"
