# SPDX-License-Identifier: Apache-2.0
"""Jobs for tests of the runner and of launchers: a store with two buckets, services, and specs of their Jobs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from parts.minio import MinioServer
from parts.rclone_s3 import RcloneS3, rclone_binary

from oscar_fedcloud.config import ProviderConfig
from oscar_fedcloud.dispatch.specs import job_spec
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import Run, RunState, StoredObject, run_id
from oscar_fedcloud.domain.stores import Credential
from oscar_fedcloud.fdl import Service, parse_service
from oscar_fedcloud.launchers.port import JobSpec
from oscar_fedcloud.launchers.process.process_plan import RUNNER, SCRIPTS
from oscar_fedcloud.launchers.runner.environment import RunnerSettings, remote_name
from oscar_fedcloud.launchers.runner.outputs import parse_outputs
from oscar_fedcloud.launchers.runner.result import Result, parse_result
from oscar_fedcloud.storage.rclone import remote_environment

PROVIDER = "minio.default"
BASH = Path("/bin/bash").exists()
BUSYBOX = shutil.which("busybox")
SHELLS = [
    pytest.param(("/bin/sh",), id="sh"),
    pytest.param(("/bin/bash", "--posix"), id="bash", marks=pytest.mark.skipif(not BASH, reason="no bash here")),
    pytest.param((BUSYBOX or "", "sh"), id="busybox", marks=pytest.mark.skipif(not BUSYBOX, reason="no busybox here")),
]
SYSTEM_PATH = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"


class Store:
    """A real store with the buckets ``data`` and ``logs``."""

    def __init__(self, server: MinioServer | RcloneS3) -> None:
        self.server = server
        self.kind = "minio" if isinstance(server, MinioServer) else "folder"
        self.client = server.client()
        for bucket in ("data", "logs"):
            if not self.client.bucket_exists(bucket):
                self.client.make_bucket(bucket)

    def put(self, key: str, body: bytes, bucket: str = "data") -> StorageEvent:
        """Upload an object; the event of it."""
        self.client.put_object(bucket, key, io.BytesIO(body), len(body))
        etag = hashlib.md5(body).hexdigest()
        return StorageEvent(
            provider=PROVIDER,
            bucket=bucket,
            key=key,
            revision=f"{time.time_ns()}-{etag}",
            order=time.time_ns(),
            size=len(body),
            etag=etag,
            time="2026-11-23T10:00:00.000Z",
            record=json.dumps({"eventSource": "minio:s3", "s3": {"bucket": {"name": bucket}}}).encode(),
        )

    def read(self, key: str, bucket: str = "data") -> bytes:
        """An object's content."""
        answer = self.client.get_object(bucket, key)
        try:
            return answer.read()
        finally:
            answer.close()
            answer.release_conn()

    def names(self, prefix: str = "", bucket: str = "data") -> list[str]:
        """All keys that start with ``prefix``, sorted."""
        return sorted(str(found.object_name) for found in self.client.list_objects(bucket, prefix, recursive=True))

    def variables(self) -> dict[str, dict[str, str]]:
        """By provider id, how rclone reaches the store."""
        config = ProviderConfig(type=self.kind, endpoint=self.server.endpoint)
        credential = Credential(self.server.access_key, self.server.secret_key)
        return {PROVIDER: remote_environment(remote_name(PROVIDER), config, credential)}


def service(script: str, **fields: Any) -> Service:
    """A service that reads ``data/in`` and writes ``data/out``."""
    document = {
        "name": "step",
        "image": "busybox",
        "script": script,
        "memory": "256Mi",
        "input": [{"storage_provider": PROVIDER, "path": "data/in"}],
        "output": [{"storage_provider": PROVIDER, "path": "data/out"}],
        "token": "7" * 64,
    }
    return parse_service(document | fields)


def run_of(of: Service, event: StorageEvent) -> Run:
    """The run of a service on an event."""
    return Run(run_id(of.name, event), of.name, event, RunState.RUNNING, "", 1, 0, 0, 0.0, time.time(), None)


def settings(**changes: Any) -> RunnerSettings:
    """Settings with logs in the bucket ``logs``."""
    values = {"log_provider": PROVIDER, "log_bucket": "logs", "staging_timeout": 60.0, "node": "here"}
    return RunnerSettings(rclone=str(rclone_binary()), **(values | changes))


def spec_of(
    store: Store,
    of: Service,
    event: StorageEvent,
    attempt: int = 1,
    written: Sequence[StoredObject] = (),
    **changes: Any,
) -> JobSpec:
    """The Job of an attempt. written: what the attempts before it wrote."""
    return job_spec(of, "1", run_of(of, event), attempt, settings(**changes), store.variables(), written)


@dataclass(frozen=True)
class Ended:
    """How a runner ended. left: what it left behind in its TMPDIR. outputs: what it says that it stored."""

    code: int
    output: str
    phase: str
    reason: str
    left: list[str]
    result: Result
    outputs: tuple[StoredObject, ...]


class Runner:
    """``runner.sh`` alone, as a launcher would start it, by the shell ``shell``; as another user if root says so."""

    def __init__(
        self, spec: JobSpec, shell: tuple[str, ...] = ("/bin/sh",), user: int | None = None, **variables: str
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="oscar-runner-"))
        self.places = spec.outputs
        (self.folder / "script").write_bytes(spec.script)
        (self.folder / "tmp").mkdir()
        environment = {
            "PATH": SYSTEM_PATH,
            "TMPDIR": str(self.folder / "tmp"),
            **spec.env,
            **spec.secrets,
            "OSCAR_SCRIPT": str(self.folder / "script"),
            "OSCAR_RESULT": str(self.folder / "result"),
            **variables,
        }
        runner = RUNNER if shell == ("/bin/sh",) else self._copy_for(shell)
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, os.geteuid() if user is None else user, -1)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*shell, str(runner)],
                env={os.fsencode(name): os.fsencode(value) for name, value in environment.items()},
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=user,
            )

    def _copy_for(self, shell: tuple[str, ...]) -> Path:
        """A copy of the runner's files for an image whose ``/bin/sh`` is this shell."""
        (self.folder / "scripts").mkdir()
        for script in SCRIPTS:
            text = script.read_text().replace("/bin/sh ", f"{' '.join(shell)} ")
            (self.folder / "scripts" / script.name).write_text(text)
        return self.folder / "scripts" / RUNNER.name

    def output(self) -> str:
        """What it has printed so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout: float = 90) -> Ended:
        """Wait for its end, and tidy up."""
        self.process.wait(timeout)
        output = self.output()
        result = parse_result((self.folder / "result").read_bytes())
        assert result.exit == self.process.returncode
        listed = self.folder / "result.outputs"
        outputs = parse_outputs(listed.read_bytes() if listed.exists() else result.outputs, self.places)
        left = [path.name for path in (self.folder / "tmp").iterdir()]
        shutil.rmtree(self.folder)
        return Ended(self.process.returncode, output, result.phase, result.reason, left, result, outputs)


def run(spec: JobSpec, shell: tuple[str, ...] = ("/bin/sh",), **variables: str) -> Ended:
    """Run a Job by ``runner.sh`` alone."""
    return Runner(spec, shell, **variables).wait()
