# SPDX-License-Identifier: Apache-2.0
"""The real invoker as a process of its own, in front of a store that a test gives it."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import yaml
from parts.minio import MinioServer
from parts.ports import free_port
from parts.waiting import eventually


class Daemon:
    """``start``, ``stop``, ``kill``, ``pause`` and ``resume`` the invoker; its data folder and address stay."""

    def __init__(self, folder: Path, minio: MinioServer | None = None, port: int = 0, **settings: Any) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.username, self.password = "admin", secrets.token_hex(12)
        self.config_file = folder / "config.yml"
        self.log_file = folder / "invoker.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}  # more than that of the tests
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = self._settings(minio) | settings
        self.write_config()

    def _settings(self, minio: MinioServer | None) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "data_dir": str(self.folder / "data"),
            "listen": f"127.0.0.1:{self.port}",
            "admin_user": self.username,
            "admin_password": self.password,
            "launcher": {"rclone": rclone_binary(), "path": [str(Path(sys.executable).parent), "/usr/bin", "/bin"]},
            "reconcile_interval": 60.0,
            "callback_networks": ["127.0.0.0/8"],
        }
        if minio is not None:
            settings["providers"] = {
                "minio.default": {
                    "type": "minio",
                    "endpoint": minio.endpoint,
                    "access_key": minio.access_key,
                    "secret_key": minio.secret_key,
                    "hooks": {"tokens": [minio.fast_token, minio.durable_token]},
                }
            }
        return settings

    def write_config(self) -> None:
        self.config_file.write_text(yaml.safe_dump(self.settings), encoding="utf-8")
        self.config_file.chmod(0o600)

    def start(self, timeout: float = 30.0) -> Daemon:
        """Start the daemon and wait until it is ready. Raise RuntimeError with the end of its log if it does not."""
        process = self.launch()
        deadline, status = time.monotonic() + timeout, ""
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                answer = self.get("/readyz")
                if answer.status_code == 200:
                    return self
                status = answer.text
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"the invoker did not become ready: {status}\n{self.log_file.read_text()[-4000:]}")

    def launch(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the daemon without waiting for it."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oscar_fedcloud.cli.invoker", "--config", str(self.config_file), *arguments],
                env=os.environ | self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self.process

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Make it hang."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError("the invoker is not running")
        return self.process

    def _end(self, sig: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(sig)
            self.process.wait(30)
            self.process = None

    def ready(self) -> bool | None:
        """Return whether it says that it is ready, None if it does not answer."""
        try:
            return self.get("/readyz").status_code == 200
        except httpx.TransportError:
            return None

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client that signs in as the administrator."""
        # To read this machine's certificate authorities, of which nothing here is, would take longer than the request.
        given = {"timeout": 60, "verify": False, **options}
        return httpx.Client(base_url=self.url, auth=(self.username, self.password), **given)

    def get(self, path: str, timeout: float = 10.0) -> httpx.Response:
        """What it answers to the administrator."""
        with self.client(timeout=timeout) as client:
            return client.get(path)

    def apply(self, *services: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Declare services; returns the plan."""
        return self._apply({"services": list(services), **options})

    def remove(self, *names: str, **options: Any) -> dict[str, Any]:
        """Remove services; returns the plan."""
        return self._apply({"names": list(names), "state": "absent", **options})

    def _apply(self, document: dict[str, Any]) -> dict[str, Any]:
        with self.client() as client:
            answer = client.post("/v2/services:apply", json=document)
            if answer.status_code != 200:
                raise AssertionError(f"apply: {answer.status_code} {answer.text}")
            plan: dict[str, Any] = answer.json()
            return plan

    def wait_ready(self, *names: str, timeout: float = 60.0) -> None:
        """Wait until these services are ready."""
        with self.client() as client:
            for name in names:
                eventually(
                    lambda name=name: client.get(f"/v2/services/{name}").json()["status"]["state"] == "ready", timeout
                )

    def jobs(self, **query: Any) -> list[dict[str, Any]]:
        """All jobs that fit the query."""
        found: list[dict[str, Any]] = []
        with self.client() as client:
            cursor = ""
            while True:
                page = client.get(
                    "/v2/jobs", params={"limit": 500, **query, **({"cursor": cursor} if cursor else {})}
                ).json()
                found += page["jobs"]
                cursor = page.get("cursor") or ""
                if not cursor:
                    return found

    def wait_jobs(self, count: int, timeout: float = 60.0, **query: Any) -> list[dict[str, Any]]:
        """Wait until ``count`` jobs that fit the query have ended; returns all jobs that fit."""

        def ended() -> list[dict[str, Any]] | None:
            jobs = self.jobs(**query)
            over = [job for job in jobs if job["state"] not in ("queued", "running")]
            return jobs if len(over) >= count and len(over) == len(jobs) else None

        found: list[dict[str, Any]] = eventually(ended, timeout)
        return found

    def metric(self, name: str) -> float:
        """The sum of all samples of a metric."""
        lines = [line for line in self.get("/metrics").text.splitlines() if line.split("{")[0].split(" ")[0] == name]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def __enter__(self) -> Daemon:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
        self.stop()


def rclone_binary() -> str:
    """The rclone that the tests run: the one of the environment."""
    beside = Path(sys.executable).parent / "rclone"
    return str(beside) if beside.exists() else "rclone"
