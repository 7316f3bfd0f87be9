# SPDX-License-Identifier: Apache-2.0
"""The project and all that it needs as wheels with a list of hashes, so that machines without a package index install it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import once
from run import replacing, run, say, sha256, write
from settings import ROOT, WWW

TARGET = WWW / "wheels"
EXTRAS = "postgresql"
# What Debian 12 runs; wheels for older C libraries run there too.
PYTHON = ("--python-version=3.11", "--implementation=cp", "--only-binary=:all:")
PLATFORMS = tuple(f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014"))
SOURCES = ("src", "plugins/module_utils/_fdl", "LICENSES")


def build() -> None:
    """Make the folder unless it was made from the same sources."""
    sources = [ROOT / "pyproject.toml", *(ROOT / name for name in SOURCES)]
    with once.making(TARGET, *sources, *PYTHON, *PLATFORMS) as needed:
        if needed:
            say("Fetching the Python packages ...")
            with replacing(TARGET) as folder:
                wheel = _project(folder)
                pip = (sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder)
                run(*pip, *PYTHON, *PLATFORMS, f"{wheel}[{EXTRAS}]")
                write(folder / "requirements.txt", "".join(sorted(map(_requirement, folder.glob("*.whl")))))


def _project(folder: Path) -> Path:
    """Build the project's wheel in a copy, since building writes beside the sources."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, temporary)
        for name in SOURCES:
            shutil.copytree(ROOT / name, Path(temporary, name), symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, temporary)
    [wheel] = folder.glob("oscar_fedcloud-*.whl")
    return wheel


def _requirement(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{sha256(wheel)}\n"
