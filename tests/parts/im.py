# SPDX-License-Identifier: Apache-2.0
"""The real Infrastructure Manager (IM) on loopback, with its Dummy cloud made to behave like one.

IM is installed once, into an environment of its own in ``$XDG_CACHE_HOME/fedcloud-oscar``. What is told to the running
server goes through files in its folder: see ``im_server.py``, which runs in that environment.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from parts.ansible_run import CACHE, find_python
from parts.ports import free_port
from parts.server import Server

IM_VERSION = "2.0.0"
# what IM needs to serve; not the whole of Ansible, which it would run on machines that the Dummy cloud does not have
REQUIREMENTS = (
    "ansible-core",
    "apache-libcloud>=3.2.0",
    "boto3",
    "defusedxml",
    "fastapi>=0.109.0",
    "hvac",
    "lxml",
    "netaddr",
    "packaging",
    "paramiko>=1.14",
    "psutil",
    "pydantic>=2.0.0",
    "python-multipart",
    "PyYAML",
    "RADL>=1.3.4",
    "requests>=2.19",
    "requests-cache>=1.0.0",
    "scar",
    "scp",
    "setuptools",
    "suds-community",
    "tosca-parser",
    "urllib3>=1.23",
    "uvicorn[standard]>=0.27.0",
    "xmltodict",
)
AUTH = "id = dummy; type = Dummy\nid = im; type = InfrastructureManager; username = user; password = pass\n"


def im_python() -> Path:
    """The Python of IM's environment, which is made when it is not there."""
    target = CACHE / "im"
    python = target / "bin" / "python"
    done = target / f"complete-{IM_VERSION}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "im.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([find_python(("3.11", "3.12", "3.10")) or "python3", "-m", "venv", target], check=True)
            install = [python, "-m", "pip", "install", "--quiet"]
            subprocess.run([*install, "--no-deps", f"IM=={IM_VERSION}"], check=True)
            subprocess.run([*install, *REQUIREMENTS], check=True)
            done.touch()
    return python


def parse_radl(text: str) -> list[dict[str, Any]]:
    """RADL in its JSON form, by IM's own parser."""
    program = "import sys; from radl import radl_json, radl_parse; r = radl_parse.parse_radl(sys.stdin.read()); "
    command = [im_python(), "-c", program + "print(radl_json.dump_radl(r))"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=True)
    return list(json.loads(done.stdout))


class ImServer(Server):
    """One server; ``stop`` or ``kill`` and ``start`` again keep its infrastructures.

    boot: seconds that a VM of the Dummy cloud stays pending.
    """

    def __init__(self, boot: float = 0.0, folder: Path | None = None) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="oscar-im-"))
        self.scratch = None if folder else self.folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.auth_file = self.folder / "auth.dat"
        self.auth_file.write_text(AUTH)
        (self.folder / "vms").mkdir(exist_ok=True)
        self.set(boot=boot)

    def set(self, *, boot: float | None = None, capacity: int | None = None, delay: float | None = None) -> None:
        """Change how the Dummy cloud behaves: boot time, VMs it has room for, seconds that launching one takes."""
        file = self.folder / "cloud.json"
        settings = json.loads(file.read_text()) if file.exists() else {"boot": 0.0, "capacity": 1000, "delay": 0.0}
        given = {"boot": boot, "capacity": capacity, "delay": delay}
        draft = file.with_suffix(".new")
        draft.write_text(json.dumps(settings | {name: value for name, value in given.items() if value is not None}))
        draft.replace(file)

    def cloud_vms(self) -> list[tuple[str, str]]:
        """The cloud's own list, not IM's: name and user data of each VM."""
        records = [json.loads(file.read_text()) for file in (self.folder / "vms").glob("*.json")]
        return sorted((record["name"], record["user_data"]) for record in records)

    def launched(self) -> int:
        """How many VMs the cloud was asked for since ever."""
        file = self.folder / "launched"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def start(self, timeout: float = 60.0) -> ImServer:
        """Start the server and wait until it serves."""
        script = Path(__file__).with_name("im_server.py")
        with (self.folder / "im.out").open("ab") as output:
            self._process = subprocess.Popen(
                [im_python(), script, self.folder, str(self.port)],
                cwd=self.folder,  # it leaves a cache of TOSCA there
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.url}/version", timeout=2).close()
                return self
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.1)
        tail = (self.folder / "im.out").read_text(errors="replace")[-2000:]
        self.kill()
        raise RuntimeError(f"IM did not become ready:\n{tail}")

    def request(self, method: str, path: str, body: str = "", kind: str = "text/plain", accept: str = "*/*") -> str:
        """One request with the credentials of the auth file; the answer's body. Raises HTTPError."""
        header = "\\n".join(self.auth_file.read_text().splitlines())
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(
            url,
            data=body.encode() or None,
            method=method,
            headers={"Authorization": header, "Content-Type": kind, "Accept": accept},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return str(response.read().decode())

    def create(self, document: str, kind: str = "text/plain") -> str:
        """Make an infrastructure; its id."""
        return self.request("POST", "/infrastructures", document, kind).strip().rpartition("/")[2]

    def wait_running(self, infrastructure: str, timeout: float = 60.0) -> None:
        """Wait until no VM of an infrastructure is pending."""
        deadline = time.monotonic() + timeout
        while "pending" in self.request("GET", f"/infrastructures/{infrastructure}/state"):
            if time.monotonic() > deadline:
                raise TimeoutError("VMs stay pending")
            time.sleep(0.2)
