# SPDX-License-Identifier: Apache-2.0
"""FDL by the module, the command line and the API of a running invoker: the same results by all three."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml
from parts.ansible_run import Ansible
from parts.daemon import Daemon
from parts.fdl_texts import BAD, GOOD, text_of

from oscar_fedcloud.cli.checking import check, documents

GROUP = "group/fedcloud.oscar.oscar"
YAML = {"Content-Type": "application/yaml", "Accept": "application/json, application/problem+json"}
BAD_FOR_ALL = [case for case in BAD if case.path != "document"]


def access(daemon: Daemon) -> dict[str, Any]:
    return {GROUP: {"endpoint": daemon.url, "username": daemon.username, "password": daemon.password}}


def task(name: str, **options: Any) -> dict[str, Any]:
    """A task that plans and may fail."""
    return {"name": name, "fedcloud.oscar.service": options, "check_mode": True, "ignore_errors": True}


def write(folder: Path, texts: dict[str, str]) -> list[dict[str, Any]]:
    """One file for each text, and the task that plans it."""
    tasks = []
    for number, (name, text) in enumerate(texts.items()):
        file = folder / f"{number}.fdl.yml"
        file.write_text(text, encoding="utf-8")
        tasks.append(task(name, fdl=str(file)))
    return tasks


def test_scalars_are_what_is_written_by_all_three_ways(ansible: Ansible, daemon: Daemon, tmp_path: Path) -> None:
    run = ansible.play(
        write(tmp_path, {case.name: text_of(case.lines) for case in GOOD}), module_defaults=access(daemon)
    )
    with daemon.client() as client:
        for number, case in enumerate(GOOD):
            (by_module,) = run[case.name].result["services"]
            file = tmp_path / f"{number}.fdl.yml"
            (by_command,) = documents([check(file)])
            answer = client.post("/v2/services:apply?dry_run=true", content=file.read_bytes(), headers=YAML)
            by_api = answer.json()["plan"][0]["after"]
            assert case.found(by_module) == case.found(by_command) == case.found(by_api) == case.document
            assert by_module == by_api


def test_problems_are_the_same_by_all_three_ways(ansible: Ansible, daemon: Daemon, tmp_path: Path) -> None:
    run = ansible.play(write(tmp_path, {case.name: case.text for case in BAD}), module_defaults=access(daemon))
    with daemon.client() as client:
        for number, case in enumerate(BAD):
            file = tmp_path / f"{number}.fdl.yml"
            (by_module,) = run[case.name].result["errors"]
            (by_command,) = check(file).problems
            place = (case.path, str(file), case.line, case.column)
            assert (by_module["path"], by_module["file"], by_module["line"], by_module["column"]) == place
            assert run[case.name].message == str(by_command)
            assert case.words in str(by_command)
            assert str(by_command).startswith(f"{file}:{case.line}:{case.column}: ")
            answer = client.post("/v2/services:apply", content=file.read_bytes(), headers=YAML)
            assert answer.status_code in (400, 422)
            if case in BAD_FOR_ALL:
                (by_api,) = answer.json()["errors"]
                told = {**by_api, "file": str(file)}
                assert told == by_module


def test_single_values_are_decrypted_and_masked(ansible: Ansible, daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open sesame", encoding="utf-8")
    command = [ansible.bin / "ansible-vault", "encrypt_string", "--vault-password-file", tmp_path / "password"]
    lines = {}
    for name, value in {"A": "first-secret-word", "B": "0755 word-of-mine"}.items():
        made = subprocess.run([*command, value, "--name", name], check=True, capture_output=True, text=True).stdout
        lines[name] = "\n".join(f"    {line.strip() if n else line}" for n, line in enumerate(made.splitlines()))
        lines[name] = lines[name].replace("\n    ", "\n      ")
    more = "    C: 1.10\n    D: !unsafe '{{ x }}'"
    text = text_of(f"environment:\n  secrets:\n{lines['A']}\n  variables:\n{lines['B']}\n{more}")
    tasks = write(tmp_path, {"plan": text})
    del tasks[0]["check_mode"]
    options = ("--vault-password-file", str(tmp_path / "password"), "-vvv", "--diff")
    run = ansible.play(tasks, *options, module_defaults=access(daemon))
    assert run["plan"].status == "ok", run.output
    for secret in ("first-secret-word", "0755 word-of-mine"):
        assert secret not in run.output
    with daemon.client() as client:
        document = client.get("/system/services/copy").json()
        client.delete("/v2/services/copy")
    assert document["environment"]["variables"] == {"B": "0755 word-of-mine", "C": "1.10", "D": "{{ x }}"}
    for wrong in ("memory", "timeout", "filter"):
        value = lines["A"].replace("    A: ", f"{wrong}: ", 1).replace("\n      ", "\n  ")
        (tmp_path / "0.fdl.yml").write_text(text_of(value))
        refused = ansible.play(tasks, *options, module_defaults=access(daemon))
        assert f"functions.oscar[0].here.{wrong}: " in refused["plan"].message
        assert "first-secret-word" not in refused.output
    (tmp_path / "0.fdl.yml").write_text(text)
    without = ansible.play(tasks, module_defaults=access(daemon))["plan"]
    assert without.status == "failed"
    assert "environment.secrets.A: !vault cannot be read: " in without.message
    assert without.result["errors"][0]["line"] == 10


def test_inline_definitions_take_templates_and_vaults_and_warn_of_what_ansible_has_read(
    ansible: Ansible, daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("open sesame", encoding="utf-8")
    command = [ansible.bin / "ansible-vault", "encrypt_string", "--vault-password-file", tmp_path / "password"]
    made = subprocess.run([*command, "a-secret-word"], check=True, capture_output=True, text=True).stdout
    vault = made.replace("\n", "\n" + " " * 14)
    book = tmp_path / "book.yml"
    endpoint = json.dumps(access(daemon))
    book.write_text(
        f"""\
- hosts: target
  gather_facts: false
  module_defaults: {endpoint}
  vars: {{version: "1.10", port: 8080}}
  tasks:
  - name: declare
    fedcloud.oscar.service:
      definition:
        name: inline
        image: "busybox:{{{{ version }}}}"
        script: "true\\n"
        environment:
          secrets:
            A: {vault}
          variables:
            B: "{{{{ version }}}}"
            C: 1.10
            D: yes
            E: 2024-01-01
            F: "0755"
            G: "{{{{ port | string }}}}"
""",
        encoding="utf-8",
    )
    run = ansible.run(book, "--vault-password-file", str(tmp_path / "password"))
    assert run["declare"].status == "ok", run.output
    with daemon.client() as client:
        document = client.get("/system/services/inline").json()
        client.delete("/v2/services/inline")
    assert document["image"] == "busybox:1.10"
    variables = document["environment"]["variables"]
    assert {name: variables[name] for name in "BFG"} == {"B": "1.10", "F": "0755", "G": "8080"}
    warned = [text.split()[0] for text in run["declare"].result["warnings"] if "put the value in quotes" in text]
    assert {f"definition.environment.variables.{name}" for name in "CDE"} <= set(warned)
    assert not {f"definition.environment.variables.{name}" for name in "BF"} & set(warned)


def test_scripts_outside_the_folder_need_an_option(oldest: Ansible, daemon: Daemon, tmp_path: Path) -> None:
    home = tmp_path / "service"
    home.mkdir()
    (tmp_path / "outside.sh").write_text("echo outside\n")
    (home / "inside.sh").write_text("echo inside\n")
    (home / "link.sh").symlink_to(tmp_path / "outside.sh")
    os.mkfifo(home / "pipe")
    texts = {
        script: text_of("").replace("|\n", f"{script}\n").replace('        cat "$INPUT_FILE_PATH"\n', "")
        for script in ("inside.sh", str(home / "inside.sh"), "link.sh", "../outside.sh", "/etc/shadow", "pipe")
    }
    tasks = write(home, texts)
    allowed = [{**one, "name": f"allowed {one['name']}"} for one in tasks]
    for one in allowed:
        one["fedcloud.oscar.service"] = {**one["fedcloud.oscar.service"], "script_folders": [str(tmp_path)]}
    run = oldest.play(tasks + allowed, module_defaults=access(daemon))
    status = {one.name: one.status for one in run.tasks}
    assert [name for name, value in status.items() if value == "ok"] == [
        "inside.sh",
        str(home / "inside.sh"),
        "allowed inside.sh",
        f"allowed {home / 'inside.sh'}",
        "allowed link.sh",
        "allowed ../outside.sh",
    ]
    for name in ("link.sh", "../outside.sh", "/etc/shadow", "allowed /etc/shadow"):
        assert f"script: {name.removeprefix('allowed ')!r} lies outside the folder of the FDL file" in run[name].message
        assert run[name].result["errors"][0]["line"] == 6
        assert "root:" not in run.output
    assert "it is a named pipe" in run["pipe"].message


def test_a_problem_that_the_server_finds_has_its_place_in_the_file(
    newest: Ansible, daemon: Daemon, tmp_path: Path
) -> None:
    text = text_of("output: [{storage_provider: rucio.x, path: b-b/c}]")
    rucio = {"host": "h", "auth_host": "a", "account": "c", "rse": "r", "refresh_token": "t"}
    text += yaml.safe_dump({"storage_providers": {"rucio": {"x": rucio}}})
    tasks = write(tmp_path, {"file": text})
    tasks.append(task("folder", fdl=str(tmp_path)))
    run = newest.play(tasks, module_defaults=access(daemon))
    for name, file in (("file", str(tmp_path / "0.fdl.yml")), ("folder", "0.fdl.yml")):
        (error,) = run[name].result["errors"]
        assert (error["file"], error["line"], error["column"]) == (file, 8, 17)
        assert error["path"] == "functions.oscar[0].here.output[0].storage_provider"
        assert "is not usable on this server version" in run[name].message
    (by_command,) = check(tmp_path / "0.fdl.yml").problems
    assert (by_command.line, by_command.column, by_command.path) == (8, 17, error["path"])
    assert "is not usable on this server version" in by_command.message
