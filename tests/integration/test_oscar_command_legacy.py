# SPDX-License-Identifier: Apache-2.0
"""``oscar`` against a server of the existing OSCAR, reached by the configuration of oscar-cli."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts.existing_oscar import PASSWORD, USER, ExistingOscar, existing_oscar
from parts.rclone_s3 import RcloneS3
from parts.standalone import Person

FDL = """\
functions:
  oscar:
    - any:
        name: copy
        image: busybox
        memory: 1Gi
        script: script.sh
        input: [{storage_provider: minio, path: copy/in}]
        output: [{storage_provider: minio, path: copy/out}]
"""


@pytest.fixture
def site() -> Iterator[ExistingOscar]:
    with RcloneS3() as store, existing_oscar(store) as running:
        (store.folder / "copy").mkdir()
        yield running


@pytest.fixture
def person(site: ExistingOscar, tmp_path: Path) -> Person:
    home = tmp_path / "home"
    (home / ".oscar-cli").mkdir(parents=True)
    (home / ".oscar-cli" / "config.yaml").write_text(
        f"""oscar:
  old:
    endpoint: {site.endpoint}/
    auth_user: {USER}
    auth_password: {PASSWORD}
    ssl_verify: false
    memory: 256Mi
    log_level: INFO
default: old
"""
    )
    (home / "fdl.yml").write_text(FDL)
    (home / "script.sh").write_text("#!/bin/sh\n")
    return Person(home)


def test_services_are_planned_declared_and_removed(person: Person, site: ExistingOscar) -> None:
    assert "+ create copy" in person.oscar("apply", "--dry-run", "fdl.yml")
    assert site.services == {}
    person.oscar("apply", "--yes", "fdl.yml")
    assert site.services["copy"]["memory"] == "1Gi"
    assert "1 unchanged" in person.oscar("apply", "fdl.yml"), "what the server adds is no change"
    (person.home / "fdl.yml").write_text(FDL.replace("1Gi", "2Gi"))
    assert "memory: 1Gi -> 2Gi" in person.oscar("apply", "--yes", "fdl.yml")
    assert site.services["copy"]["memory"] == "2Gi"
    assert person.oscar("get", "-o", "name").split() == ["copy"]
    assert "--data delete" in person.oscar("delete", "copy", "--yes", code=2)
    person.oscar("delete", "copy", "--data", "delete", "--yes")
    assert site.services == {}


def test_files_go_to_its_store_and_back(person: Person, site: ExistingOscar) -> None:
    person.oscar("apply", "--yes", "fdl.yml")
    (person.home / "some file").write_text("content")
    person.oscar("put", "some file", "copy")
    assert (site.store.folder / "copy" / "in" / "some file").read_text() == "content"
    assert person.oscar("buckets").split() == ["BUCKET", "copy"]
    assert person.oscar("ls", "copy", "-o", "name").strip() == "s3://copy/in/some file"
    assert person.oscar("cp", "s3://copy/in/some file", "-") == "content"
    person.oscar("rm", "copy/in/some file")
    assert person.oscar("ls", "copy", "-o", "name") == ""
    person.oscar("ls", "none", code=4)


def test_its_jobs_and_logs_are_shown(person: Person, site: ExistingOscar) -> None:
    person.oscar("apply", "--yes", "fdl.yml")
    times = {"creation_time": "2026-01-01T00:00:00Z", "start_time": "", "finish_time": ""}
    site.jobs["copy"] = {
        "copy-1": {"status": "Succeeded", **times},
        "copy-2": {"status": "Running", **times, "creation_time": "2026-01-02T00:00:00Z"},
    }
    site.logs["copy-2"] = "one\ntwo\n"
    assert person.oscar("jobs", "-o", "name").split() == ["copy-2", "copy-1"]
    assert person.oscar("jobs", "--state", "succeeded", "-o", "name").split() == ["copy-1"]
    assert person.oscar("logs", "copy") == "one\ntwo\n"
    assert person.oscar("logs", "copy-2", "--tail", "1") == "two\n"
    person.oscar("logs", "copy-3", code=4)
    site.logs["copy-1"] = "first\nlast\n"
    assert person.oscar("logs", "--follow", "copy-1") == "first\nlast\n"
    assert person.oscar("logs", "--follow", "copy-1", "--tail", "1") == "last\n"
    person.oscar("cancel", "copy-2")
    assert list(site.jobs["copy"]) == ["copy-1"]


@pytest.mark.parametrize(
    "arguments",
    [
        "why copy/in/x",
        "services revisions copy",
        "retry copy-1",
        "fetch copy",
        "put fdl.yml copy --wait",
        "jobs --key x",
    ],
)
def test_what_it_does_not_have_is_said(person: Person, site: ExistingOscar, arguments: str) -> None:
    person.oscar("apply", "--yes", "fdl.yml")
    site.jobs["copy"] = {"copy-1": {"status": "Succeeded", "creation_time": "", "start_time": "", "finish_time": ""}}
    assert "existing OSCAR" in person.oscar(*arguments.split(), code=8)


def test_it_is_recognised_and_examined(person: Person, site: ExistingOscar) -> None:
    info = json.loads(person.oscar("info", "-o", "json"))
    assert (info["server"], info["version"]) == ("OSCAR", "v3.6.5")
    assert {each["state"] for each in json.loads(person.oscar("doctor", "-o", "json"))} == {"ok"}
    config = person.home / ".oscar-cli" / "config.yaml"
    config.write_text(config.read_text().replace(PASSWORD, "wrong"))
    assert "refused user oscar" in person.oscar("get", code=5)
    assert "fail  credentials" in person.oscar("doctor", code=1)


def test_a_service_without_input_is_invoked_with_the_file(person: Person, site: ExistingOscar) -> None:
    text = FDL.replace("        input: [{storage_provider: minio, path: copy/in}]\n", "")
    (person.home / "fdl.yml").write_text(text)
    (person.home / "body").write_bytes(b"\x00body")
    person.oscar("apply", "--yes", "fdl.yml")
    person.oscar("put", "body", "copy")
    assert site.invoked == [("copy", b"\x00body")]
