# SPDX-License-Identifier: Apache-2.0
"""``oscar-standalone`` as a user has it: one folder, started, used, crashed, stopped and started again."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from parts.disk import fill, small_disk
from parts.waiting import eventually

COPY = """#!/bin/sh
cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"
"""


class Standalone:
    """The command line on one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "oscar_fedcloud.cli.standalone", command, "--data", str(self.data), *options]
        return subprocess.run(line, capture_output=True, text=True, check=False)

    def start(self) -> dict[str, Any]:
        run = self.run("start", "--json", "--port", "0", "--store-port", "0")
        assert run.returncode == 0, run.stderr
        facts: dict[str, Any] = json.loads(run.stdout)
        return facts

    def status(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return facts

    def client(self) -> httpx.Client:
        facts = self.status()
        password = Path(facts["password_file"]).read_text().strip()
        return httpx.Client(base_url=facts["endpoint"], auth=(facts["user"], password), timeout=30, verify=False)

    def declare_copy(self) -> None:
        service = {
            "name": "copy",
            "image": "busybox",
            "script": COPY,
            "input": [{"storage_provider": "minio", "path": "copy/in"}],
            "output": [{"storage_provider": "minio", "path": "copy/out"}],
        }
        with self.client() as client:
            assert client.post("/v2/services:apply", json={"services": [service]}).status_code == 200
            eventually(lambda: client.get("/v2/services/copy").json()["status"]["state"] == "ready")

    def drop(self, name: str, content: str) -> Path:
        """Put a file into the input folder by hand; returns where its result will lie."""
        folder = self.data / "store" / "copy" / "in"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
        return self.data / "store" / "copy" / "out" / name


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[Standalone]:
    server = Standalone(tmp_path / "data")
    yield server
    assert server.run("stop").returncode == 0


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"


def test_a_file_put_into_the_folder_comes_back_also_when_it_came_while_the_server_was_stopped(
    standalone: Standalone,
) -> None:
    standalone.start()
    standalone.declare_copy()
    first = standalone.drop("first.txt", "one")
    eventually(first.exists)
    assert first.read_text() == "one"
    assert standalone.run("stop").returncode == 0
    second = standalone.drop("second.txt", "two")
    standalone.start()
    eventually(second.exists)
    assert second.read_text() == "two"
    with standalone.client() as client:
        jobs = client.get("/v2/jobs").json()["jobs"]
    assert sorted((job["key"], job["state"]) for job in jobs) == [
        ("in/first.txt", "succeeded"),
        ("in/second.txt", "succeeded"),
    ]


def test_start_is_idempotent_and_stop_ends_all_processes(standalone: Standalone) -> None:
    assert standalone.run("status").returncode == 3
    first = standalone.start()
    second = standalone.start()
    assert (first.pop("started"), second.pop("started")) == (True, False)
    assert first["pids"] == second["pids"]
    assert standalone.run("status").returncode == 0
    pids = first["pids"].values()
    assert all(alive(pid) for pid in pids)
    assert standalone.run("stop").returncode == 0
    assert not any(alive(pid) for pid in pids)
    assert standalone.run("status").returncode == 3
    assert standalone.run("stop").returncode == 0
    again = standalone.start()
    assert again["endpoint"] == first["endpoint"]
    assert again["store_endpoint"] == first["store_endpoint"]


@pytest.mark.parametrize("part", ["invoker", "store"])
def test_a_crashed_part_comes_back(standalone: Standalone, part: str) -> None:
    pids = standalone.start()["pids"]
    os.kill(pids[part], signal.SIGKILL)

    def back() -> bool:
        facts = standalone.status()
        return facts["ready"] and facts["restarts"][part] == 1 and facts["pids"][part] not in (0, pids[part])

    eventually(back)
    assert standalone.status()["pids"]["supervisor"] == pids["supervisor"]


def test_a_killed_supervisor_leaves_no_process_behind_and_start_works_again(standalone: Standalone) -> None:
    pids = standalone.start()["pids"]
    os.kill(pids["supervisor"], signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in pids.values()))
    assert standalone.start()["started"] is True


def test_secrets_are_in_files_of_the_owner_and_in_no_command_line(standalone: Standalone) -> None:
    facts = standalone.start()
    files = [facts["password_file"], facts["store_access_key_file"], facts["store_secret_key_file"]]
    secrets = [Path(file).read_text().strip() for file in files]
    assert all(Path(file).stat().st_mode & 0o077 == 0 for file in files)
    for pid in facts["pids"].values():
        line = Path(f"/proc/{pid}/cmdline").read_text()
        assert not any(secret in line for secret in secrets)
    logs = "".join(log.read_text() for log in Path(facts["logs"]).iterdir())
    assert not any(secret in logs for secret in secrets)


def test_a_port_in_use_is_named_with_the_option_that_helps(standalone: Standalone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        run = standalone.run("start", "--port", str(port), "--store-port", "0")
    assert run.returncode == 1
    assert f"port {port} is in use by another program: choose another with --port" in run.stderr
    assert not standalone.data.exists(), "a start that fails leaves nothing behind"
    assert standalone.run("status").returncode == 3
    assert standalone.start()["ready"]


def test_other_settings_for_a_running_server_are_refused(standalone: Standalone) -> None:
    standalone.start()
    for options in (("--container", "require"), ("--max-running", "9"), ("--port", "9")):
        run = standalone.run("start", *options)
        assert run.returncode == 1
        assert "stop it first" in run.stderr
        assert "Settings(" not in run.stderr


def test_several_starts_at_once_make_one_server(standalone: Standalone) -> None:
    line = [
        sys.executable,
        "-m",
        "oscar_fedcloud.cli.standalone",
        "start",
        "--json",
        "--port",
        "0",
        "--store-port",
        "0",
    ]
    command = [*line, "--data", str(standalone.data)]
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [start.communicate(timeout=120) for start in starts]
    assert [start.returncode for start in starts] == [0, 0, 0, 0], answers
    facts = [json.loads(out) for out, _ in answers]
    assert sorted(each.pop("started") for each in facts) == [False, False, False, True]
    assert len({json.dumps(each["pids"]) for each in facts}) == 1


def test_status_and_start_are_read_by_people_and_by_programs(standalone: Standalone) -> None:
    started = standalone.run("start", "--port", "0", "--store-port", "0", "--max-running", "2").stdout
    status = standalone.run("status").stdout
    assert "2 at once" in status
    assert "running, ready" in status
    for text in (started, status):
        assert not any(sign in text for sign in ("{", "Settings(", "None", "True"))
    assert json.loads(standalone.run("status", "--output", "json").stdout)["max_running"] == 2


def test_the_configuration_that_a_user_edits_is_used_and_stays(standalone: Standalone) -> None:
    standalone.start()
    standalone.run("stop")
    config = standalone.data / "config.yml"
    config.write_text(config.read_text().replace("max_running: 0", "max_running: 3") + "# my comment\n")
    before = config.read_bytes()
    assert standalone.start()["max_running"] == 3
    assert config.read_bytes() == before
    standalone.run("stop")
    config.write_text(config.read_text().replace("max_running: 3", "max_runnning: 3"))
    run = standalone.run("start")
    assert run.returncode == 1
    assert "config.yml" in run.stderr
    assert "max_runnning" in run.stderr
    assert standalone.run("status").returncode == 3


def dead_docker(folder: Path) -> str:
    """A PATH on which docker is installed and its daemon does not answer."""
    folder.mkdir()
    for name in ("docker", "podman"):
        (folder / name).write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_a_required_container_engine_that_is_dead_is_said_before_anything_starts(
    standalone: Standalone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", dead_docker(tmp_path / "bin"))
    for command in ("start", "run"):
        run = standalone.run(command, "--container", "require", "--port", "0", "--store-port", "0")
        assert run.returncode == 1
        assert "Cannot connect to the Docker daemon" in run.stderr
        assert "ready" not in run.stdout
        assert not standalone.data.exists()


def test_a_full_disk_is_told_by_name_and_survived(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "32m") as disk:
        server = Standalone(disk / "data")
        server.start()
        try:
            server.declare_copy()
            with server.client() as client:
                ballast = fill(disk)
                for size in (1000, 3_000_000):
                    refused = client.put("/v2/buckets/copy/objects/in/a", content=bytes(size))
                    assert (refused.status_code, str(disk) in refused.text) == (507, True), refused.text
                eventually(lambda: client.get("/readyz").status_code == 503)
                parts = client.get("/readyz").json()["parts"]
                assert f"{disk}/data/store" in parts["store minio.default"]["detail"]
                why = client.get("/v2/why?bucket=copy&key=in/a").json()["answers"]
                assert f"{disk}/data/store" in why[0]["detail"], why
                ballast.unlink()
                eventually(lambda: client.get("/readyz").status_code == 200)
                assert client.put("/v2/buckets/copy/objects/in/a", content=b"content").status_code == 201
                eventually(lambda: client.get("/v2/buckets/copy/objects/out/a").content == b"content")
        finally:
            assert server.run("stop").returncode == 0
