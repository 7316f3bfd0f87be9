# SPDX-License-Identifier: Apache-2.0
"""A restore puts the ledger where the invoker finds it when it is started for the first time."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import yaml
from parts.ansible_run import ROOT, Ansible

TASKS = ROOT / "roles" / "backup" / "tasks"


def steps(name: str) -> list[dict[str, Any]]:
    """Return all tasks of a file of the role, in order, those of blocks too."""
    tasks = yaml.safe_load((TASKS / name).read_text(encoding="utf-8"))
    return [step for task in tasks for step in task.get("block", [task])]


def restore(folder: Path, archive: str) -> Path:
    """Put back a ledger with the content ``archive``; return the data folder."""
    (folder / "state").mkdir(exist_ok=True)
    (folder / "state" / "ledger.db").write_text(archive)
    known = {
        "__backup_folder": {"path": str(folder)},
        "__backup_archive": {"stat": {"checksum": archive}},
        "__backup_owner": getpass.getuser(),
        "backup_ledger": "sqlite",
        "backup_data_dir": str(folder / "data"),
    }
    variables = {"ansible.builtin.include_vars": str(ROOT / "roles/backup/vars/main.yml")}
    fixed = {"ansible.builtin.set_fact": {"__backup_owner": getpass.getuser()}}
    first = {"ansible.builtin.include_tasks": str(TASKS / "restore_ledger_first.yml")}
    done = Ansible("newest", folder / "ansible").play([variables, fixed, first], vars=known)
    assert done.code == 0, done.output
    return folder / "data"


def test_the_ledger_is_there_before_the_invoker(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ledger.db-wal").write_text("of another one")
    data = restore(tmp_path, "first")
    assert (data / "ledger.db").read_text() == "first"
    assert not (data / "ledger.db-wal").exists()
    assert (data / "restored-from").read_text() == "first\n"
    assert data.stat().st_mode & 0o777 == 0o700


def test_the_database_is_made_before_the_ledger_is_loaded() -> None:
    names = [step["name"] for step in steps("restore_ledger_first.yml")]
    order = [
        "Create the user of the ledger",
        "Create the folder of the ledger",
        "Create the database of the ledger",
        "Restore the ledger before the invoker",
    ]
    assert names == order


def test_a_ledger_in_use_is_not_put_back_twice() -> None:
    """Neither under an invoker that is there, nor over what it has recorded since the same archive was restored."""
    first = next(step for step in steps("restore_secrets.yml") if "restore_ledger_first.yml" in str(step))
    assert first["when"] == "not __backup_invoker.stat.exists"
    later = next(step for step in steps("restore_state.yml") if "restore_ledger.yml" in str(step))
    assert "!= __backup_archive.stat.checksum" in later["when"]


def test_the_playbook_puts_the_ledger_back_before_the_site() -> None:
    plays = yaml.safe_load((ROOT / "playbooks" / "restore.yml").read_text(encoding="utf-8"))
    assert "restore_secrets" in str(plays[0])
    assert "fedcloud.oscar.site" in str(plays[1])
    assert "restore_state" in str(plays[2])
