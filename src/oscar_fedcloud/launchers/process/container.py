# SPDX-License-Identifier: Apache-2.0
"""Run a Job in a container of docker or podman: the same runner, inside the service's image.

The script, the runner's files and rclone are mounted read-only, and one folder is mounted for the runner's result. The
values of environment variables are passed by the engine's own environment, never on a command line, which every user of
the machine can read.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

_PROBES = {"docker": ["version", "--format", "{{.Server.Version}}"], "podman": ["info", "--format", "ok"]}
_PROBE_TIMEOUT = 20.0  # s
_LOOPBACK = ("localhost", "127.", "::1")


@dataclass(frozen=True, slots=True)
class Engine:
    """A working container engine: ``docker`` or ``podman``, and its path."""

    name: str
    path: str


def find_engine() -> Engine | str:
    """Return the first engine that answers, or why there is none."""
    problems = []
    for name, probe in _PROBES.items():
        path = shutil.which(name)
        if path is None:
            problems.append(f"{name} is not installed")
            continue
        try:
            answer = subprocess.run([path, *probe], capture_output=True, text=True, timeout=_PROBE_TIMEOUT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            problems.append(f"{name} does not answer: {error}")
            continue
        if answer.returncode == 0:
            return Engine(name, path)
        problems.append(f"{name} does not work: {answer.stderr.strip().partition(chr(10))[0]}")
    return "; ".join(problems)


@dataclass(frozen=True, slots=True)
class JobContainer:
    """The container of a Job."""

    job: str
    image: str
    folder: Path  # of the Job
    scripts: Sequence[Path]  # the runner's files
    rclone: Path
    memory: int  # bytes
    cpu: float  # cores
    variables: Collection[str]  # names of its variables
    host_network: bool
    bundles: Mapping[str, str]  # variable with the path -> CA bundle

    @property
    def name(self) -> str:
        """Return the container's name."""
        return f"oscar-{self.job}"

    def inside(self) -> dict[str, str]:
        """Return the variables with the paths of the runner's files in the container."""
        files = {"OSCAR_RCLONE": "/oscar/rclone", "OSCAR_SCRIPT": "/oscar/script", "OSCAR_RESULT": "/oscar/out/result"}
        return files | {name: f"/oscar/{name}" for name in self.bundles}

    def run(self, engine: Engine) -> list[str]:
        """Return the command that runs it in the foreground. Signals are forwarded to the runner."""
        arguments = [engine.path, "run", "--name", self.name, "--init", "--security-opt", "no-new-privileges"]
        arguments += ["--memory", str(self.memory)] if self.memory else []
        arguments += ["--cpus", f"{self.cpu:g}"] if self.cpu else []
        arguments += ["--network", "host"] if self.host_network else []
        for name in sorted({*self.variables, *self.inside()}):
            arguments += ["--env", name]
        for source, target in self._mounts().items():
            arguments += ["--volume", f"{source}:{target}"]
        return [*arguments, "--entrypoint", "/bin/sh", self.image, "/oscar/runner.sh"]

    def _mounts(self) -> dict[str, str]:
        return {
            **{str(script): f"/oscar/{script.name}:ro" for script in self.scripts},
            str(self.rclone): "/oscar/rclone:ro",
            str(self.folder / "script"): "/oscar/script:ro",
            str(self.folder / "out"): "/oscar/out",
            **{path: f"/oscar/{name}:ro" for name, path in self.bundles.items()},
        }

    def inspect(self, engine: Engine) -> list[str]:
        """Return the command that prints ``true`` if it was killed for its memory use."""
        return [engine.path, "inspect", "--format", "{{.State.OOMKilled}}", self.name]

    def remove(self, engine: Engine) -> list[str]:
        """Return the command that stops and removes it."""
        return [engine.path, "rm", "--force", "--volumes", self.name]


def needs_host_network(environment: Mapping[str, str]) -> bool:
    """Return whether a store is on a loopback address, which differs inside a container."""
    stores = (name for name in environment if name.startswith("RCLONE_CONFIG_") and name.endswith("_ENDPOINT"))
    return any((urlsplit(environment[name]).hostname or "").startswith(_LOOPBACK) for name in stores)
