# SPDX-License-Identifier: Apache-2.0
"""The project and all that it needs as wheels, with their hashes, for machines that reach no package index."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import once
from run import replacing, run, say, sha256, temporary, write
from settings import ROOT, SITE, WWW

TARGET = WWW / "wheels"
DEPENDENCIES = SITE / "dependencies"
EXTRAS = "kubernetes,postgresql,autoscaler"
# What Debian 12 runs; wheels for older C libraries run there too.
PYTHON = ("--python-version=3.11", "--implementation=cp", "--only-binary=:all:")
PLATFORMS = tuple(f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014"))

DESCRIPTION = ROOT / "pyproject.toml"
SOURCES = ("src", "plugins/module_utils/_fdl", "LICENSES")
UNWANTED = shutil.ignore_patterns("__pycache__", "*.egg-info")


def build() -> None:
    """Make the folder unless it was made from the same sources."""
    recipe: tuple[str | Path, ...] = (DESCRIPTION, EXTRAS, *PYTHON, *PLATFORMS)
    sources = [ROOT / name for name in SOURCES]
    with once.making(TARGET, *sources, *recipe) as needed, temporary() as folder:
        if needed:
            wheel = _project(folder)
            with once.making(DEPENDENCIES, *recipe) as changed:
                if changed:
                    _fetch_dependencies(wheel)
            with replacing(TARGET) as wheels:
                shutil.copytree(DEPENDENCIES, wheels, dirs_exist_ok=True)
                shutil.copy(wheel, wheels)
                write(wheels / "requirements.txt", "".join(sorted(map(_requirement, wheels.glob("*.whl")))))


def _project(folder: Path) -> Path:
    """Build the project's wheel in a copy, since building writes beside the sources."""
    say("Building the project's Python package ...")
    copy = folder / "copy"
    copy.mkdir()
    for file in (DESCRIPTION, ROOT / "README.md"):
        shutil.copy(file, copy)
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=UNWANTED)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, copy)
    [wheel] = folder.glob("*.whl")
    return wheel


def _fetch_dependencies(wheel: Path) -> None:
    say("Fetching the Python packages that it needs ...")
    with replacing(DEPENDENCIES) as folder:
        download = (sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder)
        run(*download, *PYTHON, *PLATFORMS, f"{wheel}[{EXTRAS}]")
        (folder / wheel.name).unlink()


def _requirement(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{sha256(wheel)}\n"
