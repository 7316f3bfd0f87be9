# SPDX-License-Identifier: Apache-2.0
"""A standalone server with a data folder of its own, and the commands of someone who uses it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = {
    "oscar": "oscar_fedcloud.cli.oscar.main",
    "oscar-fedcloud": "oscar_fedcloud.cli.fdl",
    "oscar-standalone": "oscar_fedcloud.cli.standalone",
    "oscar-invoker": "oscar_fedcloud.cli.invoker",
    "oscar-autoscaler": "oscar_fedcloud.cli.autoscaler",
}


@dataclass(frozen=True)
class Person:
    """Someone with a home of their own, who gives commands."""

    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def environ(self, **more: str) -> dict[str, str]:
        """The environment of this person's commands."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OSCAR_", "XDG_"))}
        return {**kept, "HOME": str(self.home), **self.environment, **more}

    def command(self, program: str, *arguments: str | Path) -> list[str]:
        """The command line of one of our programs."""
        return [sys.executable, "-m", PROGRAMS[program], *map(str, arguments)]

    def try_(
        self, program: str, *arguments: str | Path, text: str = "", cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Give a command, with ``text`` as standard input."""
        return subprocess.run(
            self.command(program, *arguments),
            env=self.environ(**environment),
            cwd=cwd or self.home,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            check=False,
            timeout=120,
        )

    def oscar(self, *arguments: str | Path, cwd: Path | None = None, code: int = 0) -> str:
        """What ``oscar`` prints; it must end with this exit code."""
        run = self.try_("oscar", *arguments, cwd=cwd)
        assert run.returncode == code, f"{arguments}: exit code {run.returncode}\n{run.stdout}{run.stderr}"
        return run.stdout if code == 0 else run.stdout + run.stderr


@contextlib.contextmanager
def running_standalone(home: Path) -> Iterator[Person]:
    """Someone whose current context is a standalone server of their own."""
    home.mkdir(parents=True, exist_ok=True)
    person = Person(home)
    started = person.try_("oscar-standalone", "start", "--port", "0", "--store-port", "0")
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        person.oscar("context", "add", "local", "--standalone")
        yield person
    finally:
        assert person.try_("oscar-standalone", "stop").returncode == 0
