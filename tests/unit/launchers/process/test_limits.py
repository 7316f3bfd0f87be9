# SPDX-License-Identifier: Apache-2.0
"""Cgroups on an imitated hierarchy, and the log of bounded size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.launchers.process import limits
from oscar_fedcloud.launchers.process.job_dir import JobDir
from oscar_fedcloud.launchers.process.joblog import CappedLog, read_log


class Hierarchy:
    """Files as the kernel shows them for one cgroup, and for the process in it."""

    def __init__(self, root: Path, group: str, processes: str, controllers: str = "cpu memory pids") -> None:
        self.root, self.own = root / "cgroup", root / "own"
        self.group = self.root / group
        self.group.mkdir(parents=True)
        self.own.write_text(f"9:name=systemd:/x\n0::/{group}\n")
        for name, content in (("controllers", controllers), ("procs", processes), ("subtree_control", "")):
            (self.group / f"cgroup.{name}").write_text(content)

    def find(self) -> str:
        return limits.delegated_cgroup(str(self.root), str(self.own))


@pytest.fixture
def delegated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getxattr", lambda *_: b"1")


@pytest.mark.usefixtures("delegated")
def test_a_delegated_cgroup_is_made_ready(tmp_path: Path) -> None:
    hierarchy = Hierarchy(tmp_path, "system.slice/oscar.service", f"{os.getpid()}\n")
    (hierarchy.group / "oscar-invoker").mkdir()
    (hierarchy.group / "oscar-invoker" / "cgroup.procs").touch()
    assert hierarchy.find() == str(hierarchy.group)
    assert (hierarchy.group / "oscar-invoker" / "cgroup.procs").read_text() == str(os.getpid())
    assert (hierarchy.group / "cgroup.subtree_control").read_text() == "+cpu"  # the last of the two writes


@pytest.mark.usefixtures("delegated")
@pytest.mark.parametrize(("processes", "controllers"), [("1\n2\n", "cpu memory"), ("our own", "cpu pids")])
def test_a_cgroup_of_others_or_without_memory_is_left_alone(tmp_path: Path, processes: str, controllers: str) -> None:
    hierarchy = Hierarchy(tmp_path, "session.scope", processes.replace("our own", f"{os.getpid()}\n"), controllers)
    assert hierarchy.find() == ""
    assert (hierarchy.group / "cgroup.subtree_control").read_text() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="root may write everywhere, so only for root is it not enough")
def test_root_needs_the_mark_of_delegation(tmp_path: Path) -> None:
    assert Hierarchy(tmp_path, "system.slice/other.service", f"{os.getpid()}\n").find() == ""


def test_without_cgroup_v2(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("4:memory:/x\n")
    assert limits.delegated_cgroup(str(tmp_path), str(tmp_path / "own")) == ""
    assert limits.delegated_cgroup(str(tmp_path), str(tmp_path / "missing")) == ""


def test_the_cgroup_of_a_job(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory\n")
    folder = limits.make_cgroup(str(tmp_path), "job-1", 1000, 0.5)
    values = {path.name: path.read_text() for path in Path(folder).iterdir()}
    assert values == {"memory.max": "1000", "memory.swap.max": "0", "memory.oom.group": "1", "cpu.weight": "50"}
    (Path(folder) / "memory.events").write_text("low 0\nmax 3\noom 1\noom_kill 2\n")
    assert limits.killed_in_cgroup(folder)
    (Path(folder) / "memory.events").write_text("low 0\nmax 3\noom 0\noom_kill 0\n")
    assert not limits.killed_in_cgroup(folder)


def test_without_the_cpu_controller_there_is_no_share(tmp_path: Path) -> None:
    (tmp_path / "cgroup.subtree_control").write_text("memory\n")
    assert not limits.shares_cpu(str(tmp_path))
    assert not limits.shares_cpu("")
    assert not (Path(limits.make_cgroup(str(tmp_path), "job-1", 0, 1.0)) / "cpu.weight").exists()


def test_what_a_long_log_has_lost_is_told_of_where_it_was(tmp_path: Path) -> None:
    gap = b"\n[the log was too long: a part in the middle is left out]\n"
    log = CappedLog(str(tmp_path), 8)
    for part in (b"abcd", b"ef", b"gh", b"ij"):
        log.write(part)
    os.close(log._file)

    def behind(offset: int) -> tuple[bytes, int]:
        chunks, end = read_log(str(tmp_path), offset)
        return b"".join(chunks), end

    assert behind(2) == (b"cd" + gap + b"ghij", 10)
    assert behind(5) == (gap + b"ghij", 10)
    assert behind(7) == (b"hij", 10)
    assert behind(10) == behind(99) == (b"", 10)
    assert JobDir(tmp_path, "none").log(0) is None


@given(st.integers(1, 400), st.lists(st.binary(min_size=1, max_size=90), max_size=30))
def test_a_log_keeps_its_beginning_and_its_end(
    tmp_path_factory: pytest.TempPathFactory, limit: int, parts: list[bytes]
) -> None:
    folder = str(tmp_path_factory.mktemp("log"))
    log, whole = CappedLog(folder, limit), b"".join(parts)
    served, offset = b"", 0
    for part in parts:
        log.write(part)
        chunks, offset = read_log(folder, offset)
        served += b"".join(chunks)
    os.close(log._file)
    assert offset == len(whole)
    if max(map(len, parts), default=0) <= max(1, limit // 4):  # nothing is let go before it was read
        assert served == whole
    found = b"".join(read_log(folder)[0])
    head, gap, tail = found.partition(b"\n[the log was too long: a part in the middle is left out]\n")
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert sum(path.stat().st_size for path in Path(folder).iterdir()) <= limit + 3
    if not gap:
        assert found == whole
    assert len(whole) > limit // 2 or not gap
    assert b"".join(read_log(folder, len(whole))[0]) == b""
    begin = max(0, len(whole) - limit // 4)
    assert b"".join(read_log(folder, begin)[0]) == whole[begin:]
