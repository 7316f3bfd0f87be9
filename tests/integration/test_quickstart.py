# SPDX-License-Identifier: Apache-2.0
"""``make quickstart`` on a clean checkout, as a newcomer gives it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from parts.checkout import User, assert_grey_copy, changed_tasks, clean_checkout

pytestmark = pytest.mark.install

UPLOAD = "Upload the picture, wait for the job, fetch the result"


@pytest.fixture
def user(tmp_path: Path) -> Iterator[User]:
    newcomer = User(tmp_path / "home")
    newcomer.home.mkdir()
    yield newcomer
    if (newcomer.data / "lock").exists():
        newcomer.standalone("stop")


def result_of(output: str) -> Path:
    found = re.search(r"The grey picture: +(\S+?)\"", output)
    assert found, output[-3000:]
    return Path(found[1])


def printed_commands(output: str) -> list[str]:
    """The commands that the quickstart prints to continue with."""
    _, _, rest = output.partition("Continue with:")
    lines = [line.strip().strip('",').strip() for line in rest.splitlines()]
    found = [line for line in lines[:3] if "oscar" in line]
    assert len(found) == 3, rest[:2000]
    return found


def jobs(user: User) -> list[dict[str, str]]:
    facts = user.status()
    password = Path(facts["password_file"]).read_text().strip()
    answer = httpx.get(f"{facts['endpoint']}/v2/jobs", auth=(facts["user"], password), timeout=30)
    found: list[dict[str, str]] = answer.json()["jobs"]
    return found


def hide_imagemagick(user: User) -> None:
    """Put other programs of its names first on the PATH of jobs."""
    for name in ("magick", "convert"):
        program = user.data / "software" / "current" / "bin" / name
        program.write_text("#!/bin/sh\necho not ImageMagick\n")
        program.chmod(0o755)


def test_quickstart_gives_a_grey_picture_and_a_second_run_changes_nothing_but_a_new_job(
    user: User, tmp_path: Path
) -> None:
    tree = clean_checkout(tmp_path / "checkout")
    photo = tree / "examples" / "grayify" / "grace_hopper.jpg"
    make = ("make", "quickstart", f"PYTHON={sys.executable}")

    first = user.run(*make, cwd=tree).stdout
    assert_grey_copy(result_of(first), photo)
    assert_grey_copy(user.data / "store" / "grayify" / "out" / photo.name, photo)
    assert UPLOAD in changed_tasks(first)
    before = user.status()
    assert before["ready"]

    link = user.home / ".local" / "bin" / "oscar"
    assert link.resolve() == (user.data / "software" / "current" / "bin" / "oscar").resolve()
    put, listing, logs = [user.run("bash", "-c", command, cwd=user.home) for command in printed_commands(first)]
    assert "succeeded" in put.stdout
    assert_grey_copy(user.home / "results" / photo.name, photo)
    assert listing.stdout.count("succeeded") == 2
    assert logs.returncode == 0

    hide_imagemagick(user)
    result_of(first).unlink()
    second = user.run(*make, cwd=tree).stdout
    assert changed_tasks(second) == [UPLOAD]
    assert_grey_copy(result_of(second), photo)
    after = user.status()
    assert (after["pids"], after["endpoint"]) == (before["pids"], before["endpoint"])
    assert [job["state"] for job in jobs(user)] == ["succeeded"] * 3

    link.unlink()
    link.write_text("another program")
    third = user.run(*make, cwd=tree).stdout
    assert "is another program and was left alone" in third
    assert link.read_text() == "another program"
    assert all(str(link) not in command for command in printed_commands(third))

    assert "stopped" in user.run("make", "stop", cwd=tree).stdout
    left = user.run("git", "status", "--short", cwd=tree).stdout
    assert left == "", "what the quickstart makes in the tree is ignored by git"
