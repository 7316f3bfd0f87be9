#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the real servers of the tests from their Go modules, once for each version, into a cache outside the tree.

Usage: build_parts.py [GROUP ...]   Groups: minio, kubernetes-api (both: what `make test` needs), clock, scale,
site, upgrade
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parts import GROUPS, Build
from shifted_clock import make_overlay

BIN = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedcloud-oscar/bin"
PROGRESS = 10.0  # seconds between two lines


class BuildError(Exception):
    """A build failed. The message is for people."""


@dataclass(frozen=True)
class Go:
    """The go command in a module of its own, which requires what is to be built."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(["go", *arguments], **self._where(), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"go {' '.join(arguments[:3])} ... failed:\n{done.stderr.strip()[-2000:]}")
        return str(done.stdout)

    def build(self, arguments: Sequence[str], log: Path) -> None:
        """Run ``go build`` and say from time to time how far it is."""
        command = ["go", "build", "-v", "-mod=mod", "-trimpath", *arguments]
        with log.open("w") as output:
            process = subprocess.Popen(command, **self._where(), stdout=output, stderr=output)
            try:
                while process.poll() is None:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(PROGRESS)
                        break
                    compiled = sum(not line.startswith("go: ") for line in log.read_text().splitlines())
                    say(f"  {compiled} packages compiled")
            finally:
                process.terminate()
        if process.returncode != 0:
            last = "\n".join(log.read_text().splitlines()[-5:])
            raise BuildError(f"The build failed; the whole log is {log}:\n{last}")

    def _where(self) -> dict[str, Any]:
        return {"cwd": self.folder, "env": {**os.environ, **self.environment}}


def main(groups: Sequence[str]) -> int:
    if unknown := set(groups) - set(GROUPS):
        print(f"No such group: {', '.join(sorted(unknown))}. There are: {', '.join(GROUPS)}", file=sys.stderr)
        return 2
    builds = [build for group in groups or ("minio", "kubernetes-api") for build in GROUPS[group]]
    BIN.mkdir(parents=True, exist_ok=True)
    try:
        with (BIN / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left_over in BIN.glob(".build-*"):
                shutil.rmtree(left_over)
            for build in builds:
                if not is_built(build):
                    make(build)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. The same command goes on with the program that was being built.", file=sys.stderr)
        return 130
    say(f"Ready in {BIN}: {', '.join(name for build in builds for name in build.programs)}")
    return 0


def is_built(build: Build) -> bool:
    """Whether all its programs are there, of this version and built in this way."""
    stamp = stamp_of(build)
    return stamp.exists() and stamp.read_text() == repr(build) and all((BIN / name).exists() for name in build.programs)


def make(build: Build) -> None:
    """Build its programs. Each takes its place only when it is complete."""
    started = time.monotonic()
    say(f"Building {build.name} {build.version} (once) ...")
    with tempfile.TemporaryDirectory(dir=BIN, prefix=".build-") as temporary:
        go = Go(Path(temporary), {"CGO_ENABLED": "1" if build.with_c else "0"})
        require(go, build)
        made = Path(temporary, "made")
        log = BIN / f"{build.name}.build.log"
        overlay = [f"-overlay={shifted_overlay(go)}"] if build.shifted_clock else []
        go.build([f"-ldflags={build.ldflags}", *build.flags, *overlay, f"-o={made}/", *build.packages], log)
        for name, package in build.programs.items():
            target = BIN / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (made / default_name(build.module + package)).replace(target)
    stamp_of(build).parent.mkdir(exist_ok=True)
    stamp_of(build).write_text(repr(build))
    log.unlink()
    say(f"  done after {time.monotonic() - started:.0f} s")


def shifted_overlay(go: Go) -> Path:
    """Make the overlay that lets tests shift the clock."""
    try:
        return make_overlay(Path(go("env", "GOROOT").strip()), go.folder)
    except ValueError as error:
        raise BuildError(str(error)) from error


def require(go: Go, build: Build) -> None:
    """Make the module from which it is built."""
    go("mod", "init", "build")
    wanted = [f"-require={module}@v{version}" for module, version in build.modules.items()]
    if build.staging:
        # Kubernetes replaces modules by folders of its tree, which works only inside it. They are published, too.
        folder = json.loads(go("mod", "download", "-json", f"{build.module}@v{build.version}"))["Dir"]
        replaced = json.loads(go("mod", "edit", "-json", f"{folder}/go.mod"))["Replace"]
        names = [entry["Old"]["Path"] for entry in replaced]
        wanted += [f"-replace={name}={name}@v{build.staging}" for name in names]
    go("mod", "edit", *wanted)


def default_name(package: str) -> str:
    """What Go calls the program: the last part of its path that is not a version."""
    parts = package.split("/")
    return parts[-2] if parts[-1][:1] == "v" and parts[-1][1:].isdigit() else parts[-1]


def stamp_of(build: Build) -> Path:
    """The file that says from what the programs were built."""
    return BIN / ".built" / build.name


def say(message: str) -> None:
    """One line of progress."""
    print(message, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
