# SPDX-License-Identifier: Apache-2.0
"""Ansible as its users have it: several versions in environments of their own, and playbooks with their results.

The environments are made once, in ``$XDG_CACHE_HOME/fedcloud-oscar``. Targets are reached by the connection ``local``,
but with a Python of their own that has nothing installed, as a remote machine would be.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedcloud-oscar"
PLUGINS = Path(__file__).parent / "ansible_plugins"

# What is installed, and the Pythons on which it runs, the best first.
VERSIONS: Mapping[str, tuple[str, Sequence[str]]] = {
    "2.16": ("ansible-core==2.16.*", ("3.11", "3.12", "3.10")),
    "newest": ("ansible-core", ("3.14", "3.13", "3.12", "3.11")),
}
OLDEST = "2.16"
TARGET_PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Task:
    """One task that ran: its name, ``ok``, ``failed``, ``skipped`` or ``unreachable``, and what it returned."""

    name: str
    status: str
    result: dict[str, Any]

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed"))

    @property
    def message(self) -> str:
        """Why it failed."""
        return str(self.result.get("msg", ""))

    @property
    def diff(self) -> str:
        """The diff as text, one line for each that differs."""
        parts = self.result.get("diff") or []
        lines = []
        for part in parts if isinstance(parts, list) else [parts]:
            before, after = part["before"].splitlines(), part["after"].splitlines()
            lines += [f"- {line}" for line in before if line not in after]
            lines += [f"+ {line}" for line in after if line not in before]
        return "\n".join(lines)


@dataclass(frozen=True)
class Run:
    """A playbook that ran: its exit code, all that was printed, and its tasks in order."""

    code: int
    output: str
    tasks: tuple[Task, ...]

    def __getitem__(self, name: str) -> Task:
        """The (last) task of this name."""
        for task in reversed(self.tasks):
            if task.name == name:
                return task
        raise KeyError(f"no task {name!r} ran; the output is:\n{self.output}")


class Ansible:
    """One version of Ansible. ``folder`` is for playbooks and temporary files, ``environ`` extends the environment."""

    def __init__(self, version: str, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.version = version
        self.folder = folder
        self.bin = environment(version) / "bin"
        self.environ = dict(environ or {})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "inventory").write_text(
            f"target ansible_connection=local ansible_python_interpreter={bare_python()}\n", encoding="utf-8"
        )

    def play(self, tasks: Sequence[Mapping[str, Any]], *options: str, **play: Any) -> Run:
        """Run tasks on the target, e.g. with ``--check --diff``; ``play`` holds further keywords of the play."""
        book = [{"hosts": "target", "gather_facts": False, **play, "tasks": list(tasks)}]
        file = self.folder / "playbook.yml"
        file.write_text(yaml.safe_dump(book, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return self.run(file, *options)

    def run(self, playbook: Path, *options: str) -> Run:
        """Run a playbook."""
        results = self.folder / "results.jsonl"
        results.unlink(missing_ok=True)
        command = [self.bin / "ansible-playbook", "-i", self.folder / "inventory", playbook, *options]
        done = subprocess.run(
            command,
            env=self._environment(results),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=1800,
            check=False,
        )
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
        tasks = tuple(Task(line["task"], line["status"], line["result"]) for line in map(json.loads, lines))
        return Run(done.returncode, done.stdout, tasks)

    def _environment(self, results: Path) -> dict[str, str]:
        foreign = ("ANSIBLE_", "OSCAR_", "PYTHON")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return {
            **kept,
            "ANSIBLE_CALLBACK_PLUGINS": str(PLUGINS / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "record",
            "ANSIBLE_COLLECTIONS_PATH": str(collections_path()),
            "ANSIBLE_HOME": str(self.folder / "home"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_REMOTE_TEMP": str(self.folder / "remote"),
            "OSCAR_TEST_RESULTS": str(results),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.environ,
        }


def environment(version: str) -> Path:
    """The virtual environment with this version of Ansible. Skips the test where no Python here can run it."""
    requirement, pythons = VERSIONS[version]
    python = find_python(pythons)
    if python is None:
        pytest.skip(f"{requirement} needs Python {' or '.join(pythons)}, none of which is installed")
    return _virtualenv(f"ansible-{version}", python, requirement)


def bare_python() -> Path:
    """A Python as on a target: the oldest there is here, with nothing but the standard library."""
    return _virtualenv("target", find_python(TARGET_PYTHONS) or Path(sys.executable)) / "bin" / "python"


def find_python(versions: Sequence[str]) -> Path | None:
    """The first of these Pythons that is on this machine, in PATH or among those of pyenv."""
    for version in versions:
        candidates = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
        for candidate in filter(None, candidates):
            # The shims of pyenv exist for versions that are not switched on.
            if subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
                return Path(candidate)
    return None


def collections_path() -> Path:
    """A folder in which Ansible finds this tree as the collection fedcloud.oscar."""
    folder = CACHE / "collections" / hashlib.sha256(str(ROOT).encode()).hexdigest()[:12]
    link = folder / "ansible_collections" / "fedcloud" / "oscar"
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(ROOT)
    return folder


def _virtualenv(name: str, python: Path, *requirements: str) -> Path:
    target = CACHE / name
    with _locked(CACHE / f"{name}.lock"):
        if not (target / "complete").exists():
            shutil.rmtree(target, ignore_errors=True)
            subprocess.run([python, "-m", "venv", target], check=True)
            if requirements:
                subprocess.run([target / "bin/python", "-m", "pip", "install", "--quiet", *requirements], check=True)
            (target / "complete").touch()
    return target


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
