# SPDX-License-Identifier: Apache-2.0
"""The tree as a user gets it, and the commands that a user gives, with a home of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops

ROOT = Path(__file__).parents[2]
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "init.defaultBranch=main")


def clean_checkout(folder: Path) -> Path:
    """A git checkout of what is committed here and of what is new, without anything that git ignores."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, os.fsdecode(listed.stdout).split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_symlink() or source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    for command in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "tree")):
        subprocess.run([*GIT, *command], cwd=folder, check=True)
    return folder


@dataclass(frozen=True)
class User:
    """Someone whose home is an empty folder."""

    home: Path

    @property
    def data(self) -> Path:
        """Where the quickstart puts everything."""
        return self.home / ".local" / "share" / "oscar-standalone"

    def run(self, *command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command that must succeed."""
        private = ("ANSIBLE_", "OSCAR_", "XDG_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(private)}
        environment |= {"HOME": str(self.home), "XDG_CACHE_HOME": str(cache())}
        run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-3000:]
        return run

    def standalone(self, *arguments: str) -> str:
        """What ``oscar-standalone`` says."""
        return self.run(self.data / "software" / "current" / "bin" / "oscar-standalone", *arguments).stdout

    def status(self) -> Any:
        """The state of this user's server."""
        return json.loads(self.standalone("status", "--json"))


def cache() -> Path:
    """The cache of this machine, so that packages need not be fetched again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def changed_tasks(output: str) -> list[str]:
    """Names of the tasks that ``ansible-playbook`` reports as changed."""
    task, changed = "", []
    for line in output.splitlines():
        if found := re.match(r"TASK \[(.*)\]", line):
            task = found[1]
        elif line.startswith("changed: ") and task not in changed:
            changed.append(task)
    return changed


def assert_grey_copy(result: Path, original: Path) -> None:
    """The result is a picture of the original's size in which R = G = B everywhere; the original has colour."""
    with Image.open(result) as after, Image.open(original) as before:
        assert after.size == before.size
        assert after.format == before.format
        for picture, grey in ((after, True), (before, False)):
            red, green, blue = picture.convert("RGB").split()
            differences = [ImageChops.difference(red, green).getbbox(), ImageChops.difference(green, blue).getbbox()]
            assert (differences == [None, None]) is grey
