# SPDX-License-Identifier: Apache-2.0
"""The collection as it is published, and as it is installed from git: without the checkout, in an empty environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts.checkout import ROOT, User, assert_grey_copy, clean_checkout

pytestmark = pytest.mark.install

PHOTO = ROOT / "examples" / "grayify" / "grace_hopper.jpg"
REQUIRED = {"meta", "playbooks", "plugins", "roles"}


@pytest.fixture(scope="module")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds ansible-core and nothing else."""
    venv = tmp_path_factory.mktemp("ansible") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin" / "pip", "install", "--quiet", "ansible-core>=2.16"], check=True)
    return venv / "bin"


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    someone = User(tmp_path / "home")
    someone.home.mkdir()
    yield someone
    if (someone.data / "lock").exists():
        someone.standalone("stop")


def quickstart(user: User, ansible: Path) -> None:
    """Run the quickstart playbook of the installed collection; its result must be the grey picture."""
    output = user.run(ansible / "ansible-playbook", "fedcloud.oscar.quickstart", cwd=user.home).stdout
    assert str(ROOT) not in output
    assert_grey_copy(user.data / "store" / "grayify" / "out" / PHOTO.name, PHOTO)


def test_the_tarball_needs_only_the_four_required_folders(user: User, ansible: Path, tmp_path: Path) -> None:
    tree = clean_checkout(tmp_path / "checkout")
    dist = tmp_path / "dist"
    user.run(tree / "tools" / "build-release.sh", Path(sys.executable).parent, dist)
    shutil.rmtree(tree)
    (tarball,) = dist.iterdir()
    user.run(ansible / "ansible-galaxy", "collection", "install", tarball)
    installed = user.home / ".ansible" / "collections" / "ansible_collections" / "fedcloud" / "oscar"
    for entry in installed.iterdir():
        if entry.name not in REQUIRED:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    assert {entry.name for entry in installed.iterdir()} == REQUIRED
    quickstart(user, ansible)


def test_an_install_from_git_builds_the_server_out_of_the_collection(user: User, ansible: Path, tmp_path: Path) -> None:
    tree = clean_checkout(tmp_path / "checkout")
    user.run(ansible / "ansible-galaxy", "collection", "install", f"git+file://{tree}")
    shutil.rmtree(tree)
    quickstart(user, ansible)
