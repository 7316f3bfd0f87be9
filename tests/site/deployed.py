# SPDX-License-Identifier: Apache-2.0
"""The site as its administrator and its users have it: playbooks over ssh, names on one public port, S3 and API."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config
from guests import named
from keys import CONFIG
from parts.ansible_run import ROOT, Ansible, Run
from parts.waiting import eventually
from settings import SITE

INVENTORY = Path(__file__).parent / "inventory"
FRONT, WORKERS = "front", ("worker1", "worker2")
DOMAIN, OTHER_DOMAIN = "oscar.test", "other.test"
FRONT_ENDS = {DOMAIN: FRONT, OTHER_DOMAIN: "worker3"}
CA_FILE = SITE / "ca.crt"

_resolve = socket.getaddrinfo


def resolve(host: Any, *rest: Any, **more: Any) -> Any:
    """Names of a site lead to its front end, as its DNS would say."""
    name = host.decode() if isinstance(host, bytes) else str(host)
    front = FRONT_ENDS.get(name.partition(".")[2])
    return _resolve(named([front])[0].address if front else host, *rest, **more)


@contextlib.contextmanager
def names_known() -> Iterator[None]:
    """This process finds the names of the site."""
    socket.getaddrinfo = resolve  # type: ignore[assignment]
    try:
        yield
    finally:
        socket.getaddrinfo = _resolve


@dataclass
class Deployed:
    """``play`` runs a playbook of the collection against the site, ``ssh`` a command on one of its machines."""

    ansible: Ansible
    folder: Path
    inventory: Path = INVENTORY
    domain: str = DOMAIN
    ca_file: Path = CA_FILE

    @property
    def front(self) -> str:
        """The host of the front end."""
        return FRONT_ENDS[self.domain]

    def play(self, name: str, *options: str, must: bool = True, **variables: Any) -> Run:
        """Run ``fedcloud.oscar.<name>``; its output goes to a file as it comes."""
        given = {"ingress_ca_dest": str(self.ca_file), **variables}
        run = self.ansible.run(
            ROOT / "playbooks" / f"{name}.yml", "-i", str(self.inventory), "-e", json.dumps(given), *options
        )
        (self.folder / f"{name}.log").write_text(run.output, encoding="utf-8")
        if must and run.code != 0:
            raise AssertionError(f"playbook {name} failed:\n{run.output[-8000:]}")
        return run

    def ssh(self, host: str, command: str, must: bool = True, timeout: float = 300) -> str:
        """What a shell command on a machine prints."""
        done = subprocess.run(
            ["ssh", "-F", str(CONFIG), host, command], capture_output=True, text=True, timeout=timeout, check=False
        )
        if must and done.returncode != 0:
            raise AssertionError(f"on {host}: {command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def kubectl(self, *arguments: str) -> Any:
        """What ``kubectl get`` finds, as data."""
        text = self.ssh(
            self.front, f"kubectl --kubeconfig /etc/kubernetes/admin.conf get {' '.join(arguments)} -o json"
        )
        return json.loads(text)

    def machine(self, *command: str) -> None:
        """A command of the test site, such as ``power-off worker1``."""
        subprocess.run([sys.executable, str(Path(__file__).parent), *command], check=True, stdout=subprocess.DEVNULL)

    # -- as a user ---------------------------------------------------------------------------------------------------

    @cached_property
    def port(self) -> int:
        """The public port."""
        known = self.ssh(self.front, "cat /etc/ansible/facts.d/oscar.fact", must=False)  # the playbook's, no role's
        return int(json.loads(known)["public_port"]) if known else 443

    def forget(self) -> None:
        """Another site stands on the same machines now."""
        for name in ("port", "password", "root_password"):
            vars(self).pop(name, None)

    @property
    def api_url(self) -> str:
        return f"https://api.{self.domain}:{self.port}"

    @property
    def s3_url(self) -> str:
        return f"https://s3.{self.domain}:{self.port}"

    @cached_property
    def password(self) -> str:
        return self.ssh(self.front, "cat /etc/oscar/secrets/admin-password").strip()

    @cached_property
    def root_password(self) -> str:
        return self.ssh(self.front, "cat /etc/minio/secrets/root-password").strip()

    def client(self) -> httpx.Client:
        """The API through the public port."""
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        return httpx.Client(base_url=self.api_url, auth=("oscar", self.password), verify=trust, timeout=60)

    def s3(self) -> Any:
        """The store through the public port."""
        return boto3.client(
            "s3",
            endpoint_url=self.s3_url,
            aws_access_key_id="oscar-root",
            aws_secret_access_key=self.root_password,
            region_name="us-east-1",
            verify=str(self.ca_file),
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 8}),
        )

    def declare(self, fdl: Path | Mapping[str, Any], timeout: float = 180) -> None:
        """Declare services by the playbook, from a file, a folder or a document."""
        if isinstance(fdl, Mapping):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "fdl.json"
                path.write_text(json.dumps(fdl), encoding="utf-8")
                self.play("services", services_folder=str(path), services_timeout=timeout)
        else:
            self.play("services", services_folder=str(fdl), services_timeout=timeout)

    def jobs(self, **query: Any) -> list[dict[str, Any]]:
        with self.client() as client:
            answer = client.get("/v2/jobs", params={"limit": 1000, **query}).raise_for_status()
            found: list[dict[str, Any]] = answer.json()["jobs"]
            return found

    def wait_jobs(self, count: int, timeout: float = 180, **query: Any) -> list[dict[str, Any]]:
        """All jobs that fit the query, once at least that many have ended and none is left."""

        def ended() -> list[dict[str, Any]] | None:
            with contextlib.suppress(httpx.HTTPError):
                found = self.jobs(**query)
                if len(found) >= count and all(job["state"] not in ("queued", "running") for job in found):
                    return found
            return None

        found: list[dict[str, Any]] = eventually(ended, timeout)
        return found


def changed(run: Run) -> list[str]:
    """The tasks of a playbook that changed something."""
    return [task.name for task in run.tasks if task.changed]
