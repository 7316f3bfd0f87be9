# SPDX-License-Identifier: Apache-2.0
"""fedcloud.oscar.service and service_info through ansible-playbook, against the running invoker."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from parts.ansible_run import Ansible, Run, bare_python
from parts.daemon import Daemon
from parts.ports import free_port
from parts.proxy import proxy_to

GROUP = "group/fedcloud.oscar.oscar"
SECRETS = ("first-secret-word", "second-secret-word", "third-secret-word")
SCRIPT = '#!/bin/sh\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n'


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A service name of this test alone."""
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-30:].strip("-")


def access(daemon: Daemon, url: str = "") -> dict[str, Any]:
    """Defaults for the whole action group."""
    return {GROUP: {"endpoint": url or daemon.url, "username": daemon.username, "password": daemon.password}}


def service(task: str, check: bool = False, **options: Any) -> dict[str, Any]:
    """A task that may fail."""
    checked = {"check_mode": True} if check else {}
    return {"name": task, "fedcloud.oscar.service": options, "ignore_errors": True, **checked}


def definition(name: str, **fields: Any) -> dict[str, Any]:
    """A service with a bucket of its own."""
    return {
        "name": name,
        "image": "none",
        "script": SCRIPT,
        "input": [{"storage_provider": "minio", "path": f"{name}/in"}],
        "output": [{"storage_provider": "minio", "path": f"{name}/out"}],
        **fields,
    }


def write_fdl(folder: Path, *services: Mapping[str, Any], **more: Any) -> Path:
    """An FDL file whose script lies beside it."""
    (folder / "script.sh").write_text(SCRIPT, encoding="utf-8")
    entries = [{"oscar-cluster": {**one, "script": "script.sh"}} for one in services]
    file = folder / "fdl.yml"
    file.write_text(yaml.safe_dump({"functions": {"oscar": entries}, **more}), encoding="utf-8")
    return file


def shown_diff(run: Run) -> list[str]:
    """The lines that ``--diff`` printed."""
    return [line for line in run.output.splitlines() if re.match(r"[-+@ ]", line) and not line.startswith("    ")]


def names(daemon: Daemon) -> set[str]:
    with daemon.client() as client:
        return {found["name"] for found in client.get("/v2/services").json()["services"]}


def bucket_exists(daemon: Daemon, bucket: str) -> bool:
    with daemon.client() as client:
        return client.get(f"/v2/buckets/{bucket}").status_code == 200


def test_the_life_of_a_service(ansible: Ansible, daemon: Daemon, name: str) -> None:
    first, second = definition(name), definition(name, memory="512Mi")
    run = ansible.play(
        [
            service("nothing is said"),
            service("creation is checked", check=True, definition=first),
            {"name": "nothing was created", "fedcloud.oscar.service_info": {"name": name}},
            service("it is created", definition=first, wait=True),
            {"name": "it is there", "fedcloud.oscar.service_info": {"name": name}},
            service("it is created again", definition=first, wait=True),
            service("an update is checked", check=True, definition=second),
            service("it is updated", definition=second),
            service("it is updated again", definition=second),
            {"name": "all are read", "fedcloud.oscar.service_info": {}},
            service("absence is checked", check=True, name=name, state="absent"),
            service("it is made absent", name=name, state="absent"),
            service("it is made absent again", name=name, state="absent"),
            {"name": "its bucket is kept", "fedcloud.oscar.bucket": {"name": name}, "check_mode": True},
            service("it comes back", definition=first, wait=True),
            service("it goes with its data", definition=first, state="absent", data="delete"),
            {"name": "its bucket is gone", "fedcloud.oscar.bucket": {"name": name}, "check_mode": True},
        ],
        "--diff",
        module_defaults=access(daemon),
    )
    assert run["nothing is said"].message == "state is present but fdl and definition are missing; give one of them"
    assert run["creation is checked"].changed
    assert run["nothing was created"].result["services"] == []
    assert run["it is created"].changed
    assert run["it is created"].diff == run["creation is checked"].diff
    assert "+ memory: 256Mi" in run["it is created"].diff.splitlines()
    assert run["it is created"].result["plan"] == [{"name": name, "action": "create", "changes": [], "revision": "1"}]
    assert run["it is created"].result["services"][0]["memory"] == "256Mi"
    (view,) = run["it is there"].result["services"]
    assert (view["name"], view["revision"], view["status"]["state"]) == (name, "1", "ready")
    assert not run["it is created again"].changed
    assert run["it is created again"].diff == ""
    for task in ("an update is checked", "it is updated"):
        assert run[task].changed
        assert run[task].diff == "- memory: 256Mi\n+ memory: 512Mi"
    (item,) = run["it is updated"].result["plan"]
    assert item["changes"] == [{"path": "memory", "before": "256Mi", "after": "512Mi"}]
    assert not run["it is updated again"].changed
    assert name in [one["name"] for one in run["all are read"].result["services"]]
    assert run["absence is checked"].changed
    assert run["it is made absent"].changed
    assert run["it is made absent"].diff == run["absence is checked"].diff
    assert not run["it is made absent again"].changed
    assert not run["its bucket is kept"].changed
    assert run["it goes with its data"].changed
    assert run["its bucket is gone"].changed


def test_a_file_declares_all_its_services_and_changes_nothing_the_second_time(
    oldest: Ansible, daemon: Daemon, name: str, tmp_path: Path
) -> None:
    secrets = {"environment": {"secrets": {"API_KEY": SECRETS[0]}}}
    file = write_fdl(tmp_path, *(definition(f"{name}-{number}", **secrets) for number in range(3)))
    task = [{"name": "declare", "fedcloud.oscar.service": {"fdl": str(file)}}]
    with proxy_to(daemon.url) as proxy:
        checked = oldest.play(task, "--check", "--diff", module_defaults=access(daemon, proxy.url))
        assert proxy.mutating == []
        real = oldest.play(task, "--diff", module_defaults=access(daemon, proxy.url))
        proxy.seen.clear()
        again = oldest.play(task, "--diff", module_defaults=access(daemon, proxy.url))
        assert [(one.method, one.target) for one in proxy.seen] == [("POST", "/v2/services:apply?dry_run=false")]
    assert checked["declare"].changed
    assert real["declare"].changed
    assert shown_diff(real) == shown_diff(checked)
    assert [line for line in shown_diff(real) if line.startswith("+name: ")] == [f"+name: {name}-{n}" for n in range(3)]
    assert [item["action"] for item in real["declare"].result["plan"]] == ["create"] * 3
    assert not again["declare"].changed
    assert shown_diff(again) == []
    with daemon.client() as client:
        document = client.get(f"/v2/services/{name}-0").json()["document"]
    assert document["script"] == SCRIPT
    assert document["cluster_id"] == "oscar-cluster"


def test_a_folder_declares_the_services_of_all_its_files_and_prunes_the_others(
    oldest: Ansible, daemon: Daemon, name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "services"
    for number in range(2):
        (folder / str(number)).mkdir(parents=True)
        file = write_fdl(folder / str(number), definition(f"{name}-{number}"))
    file.rename(file.with_name("last.fdl.yml"))
    (folder / "notes.yml").write_text("no: fdl\n")
    declare = [{"name": "declare", "fedcloud.oscar.service": {"fdl": str(folder)}}]
    assert oldest.play(declare, module_defaults=access(daemon))["declare"].changed
    assert not oldest.play(declare, module_defaults=access(daemon))["declare"].changed
    daemon.apply(definition(f"{name}-other"))
    before = names(daemon)
    assert f"{name}-other" in before
    prune = [{"name": "declare", "fedcloud.oscar.service": {"fdl": str(folder), "prune": True}}]
    checked = oldest.play(prune, "--check", module_defaults=access(daemon))["declare"]
    assert names(daemon) == before
    pruned = oldest.play(prune, module_defaults=access(daemon))["declare"]
    assert names(daemon) == {f"{name}-0", f"{name}-1"}
    assert checked.result["plan"] == pruned.result["plan"]
    assert not oldest.play(prune, module_defaults=access(daemon))["declare"].changed


def test_all_problems_of_a_folder_are_told_with_their_files(
    newest: Ansible, daemon: Daemon, name: str, tmp_path: Path
) -> None:
    for number, memory in enumerate(("1 GB", "-1")):
        (tmp_path / "services" / str(number)).mkdir(parents=True)
        write_fdl(tmp_path / "services" / str(number), definition(f"{name}-{number}", memory=memory))
    task = [service("declare", fdl=str(tmp_path / "services"))]
    found = newest.play(task, module_defaults=access(daemon))["declare"].result["errors"]
    assert [error["file"] for error in found] == ["0/fdl.yml", "1/fdl.yml"]
    assert all(error["line"] > 1 and error["column"] > 1 for error in found)
    assert all(error["path"].endswith(".memory") for error in found)


def test_changing_one_of_many_shows_that_line_alone(oldest: Ansible, daemon: Daemon, name: str, tmp_path: Path) -> None:
    services = [definition(f"{name}-{number}") for number in range(3)]
    declare = [{"name": "declare", "fedcloud.oscar.service": {"fdl": str(tmp_path / "fdl.yml")}}]
    write_fdl(tmp_path, *services)
    oldest.play(declare, module_defaults=access(daemon))
    services[1]["memory"] = "1Gi"
    write_fdl(tmp_path, *services)
    checked = oldest.play(declare, "--check", "--diff", module_defaults=access(daemon))
    real = oldest.play(declare, "--diff", module_defaults=access(daemon))
    assert shown_diff(checked) == shown_diff(real)
    header = [f"--- before: service {name}-1", f"+++ after: service {name}-1", "@@ -1 +1 @@"]
    assert shown_diff(real) == [*header, "-memory: 256Mi", "+memory: 1Gi"]
    assert [item["action"] for item in real["declare"].result["plan"]] == ["unchanged", "update", "unchanged"]


def test_secrets_are_never_shown(ansible: Ansible, daemon: Daemon, name: str, tmp_path: Path) -> None:
    def with_secret(secret: str, **fields: Any) -> dict[str, Any]:
        access = {"access_key": "someone", "secret_key": SECRETS[2], "region": "eu-west-1"}
        archive = {"storage_provider": "s3.archive", "path": "archive/out"}
        return definition(
            name,
            environment={"secrets": {"API_KEY": secret}},
            storage_providers={"s3": {"archive": access}},
            output=[archive],
            **fields,
        )

    file = write_fdl(tmp_path, with_secret(SECRETS[1]))
    run = ansible.play(
        [
            service("create", definition=with_secret(SECRETS[0])),
            service("change the secret", fdl=str(file)),
            service("change nothing", fdl=str(file)),
            service("make a mistake", definition=with_secret(SECRETS[0], memory="much")),
            service("make a mistake in the secret", definition=with_secret([SECRETS[0]])),
            service("miss the server", definition=with_secret(SECRETS[0]), endpoint=f"http://127.0.0.1:{free_port()}"),
            service("use a wrong option", definition=with_secret(SECRETS[0]), wait_timeout="soon"),
            service("use an unknown option", definition=with_secret(SECRETS[0]), wiat=True),
            service("use a wrong password", definition=with_secret(SECRETS[0]), password="not-the-password"),
            {"name": "read", "fedcloud.oscar.service_info": {"name": name}},
        ],
        "-vvv",
        "--diff",
        module_defaults=access(daemon),
    )
    statuses = {task.name: task.status for task in run.tasks}
    assert [task for task, status in statuses.items() if status == "ok"] == [
        "create",
        "change the secret",
        "change nothing",
        "read",
    ]
    printed = run.output + json.dumps([task.result for task in run.tasks])
    for secret in (*SECRETS, daemon.password, "not-the-password"):
        assert secret not in printed
    assert "+ environment.secrets.API_KEY: hidden" in run["create"].diff
    changed = run["change the secret"].diff.splitlines()
    assert {"- environment.secrets.API_KEY: hidden", "+ environment.secrets.API_KEY: hidden (changed)"} <= set(changed)
    assert not run["change nothing"].changed
    assert run["read"].result["services"][0]["document"]["environment"]["secrets"] == {"API_KEY": "hidden"}
    assert run["make a mistake"].result["errors"][0]["path"] == "definition.memory"
    assert "refused user" in run["use a wrong password"].message


def test_a_server_that_does_not_answer_is_an_error_in_check_mode_too(
    oldest: Ansible, daemon: Daemon, name: str
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    tasks = [
        service("create", definition=definition(name)),
        {"name": "bucket", "fedcloud.oscar.bucket": {"name": name}, "ignore_errors": True},
    ]
    run = oldest.play(tasks, "--check", module_defaults=access(daemon, endpoint))
    for task in run.tasks:
        assert (task.status, task.message) == ("failed", f"{endpoint} cannot be reached: Connection refused")


def test_without_a_server_a_check_of_a_new_site_says_what_would_be_created(
    oldest: Ansible, daemon: Daemon, name: str
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    tasks = [
        service("create", definition=definition(name)),
        service("remove", name=name, state="absent"),
        {"name": "bucket", "fedcloud.oscar.bucket": {"name": name}},
        {"name": "invoke", "fedcloud.oscar.invocation": {"service": name, "body": "x", "key": "in/x"}},
    ]
    defaults = access(daemon, endpoint)
    defaults["group/fedcloud.oscar.oscar"]["new_server"] = True
    run = oldest.play(tasks, "--check", "--diff", module_defaults=defaults)
    assert {task.name: task.changed for task in run.tasks} == {
        "create": True,
        "remove": False,
        "bucket": True,
        "invoke": True,
    }
    assert "+ memory: 256Mi" in run["create"].diff
    for task in run.tasks:
        assert f"{endpoint} cannot be reached" in task.result["warnings"][0]
    real = oldest.play(tasks[:1], module_defaults=access(daemon, endpoint))
    assert real["create"].message == f"{endpoint} cannot be reached: Connection refused"


def test_scripts_and_files_are_found_and_decrypted_on_the_controller(
    newest: Ansible, daemon: Daemon, name: str, tmp_path: Path
) -> None:
    (newest.folder / "files").mkdir()
    (newest.folder / "files" / "inline.sh").write_text("#!/bin/sh\necho inline\r\n", encoding="utf-8")
    file = write_fdl(tmp_path, definition(f"{name}-f"))
    (tmp_path / "fdl.json").write_text(json.dumps(yaml.safe_load(file.read_text())), encoding="utf-8")
    (tmp_path / "password").write_text("open sesame", encoding="utf-8")
    for secret in (file, tmp_path / "script.sh"):
        vault = [newest.bin / "ansible-vault", "encrypt", "--vault-password-file", tmp_path / "password", secret]
        subprocess.run(vault, check=True, capture_output=True)
    run = newest.play(
        [
            service("a script of the playbook", definition=definition(f"{name}-i", script="inline.sh")),
            service("no such script", definition=definition(f"{name}-i", script="missing.sh", memory="x")),
            service("an encrypted file", fdl=str(file)),
            service("JSON", fdl=str(tmp_path / "fdl.json")),
            service("no such file", fdl="missing.yml"),
            service("two sources", fdl=str(file), definition=definition(name)),
        ],
        "--vault-password-file",
        str(tmp_path / "password"),
        module_defaults=access(daemon),
    )
    with daemon.client() as client:
        scripts = [client.get(f"/v2/services/{name}-{kind}").json()["document"]["script"] for kind in "if"]
    assert scripts == ["#!/bin/sh\necho inline\n", SCRIPT]
    assert not run["JSON"].changed
    errors = run["no such script"].result["errors"]
    assert [error["path"] for error in errors] == ["definition.script", "definition.memory"]
    assert run["no such file"].message.startswith("fdl: 'missing.yml' cannot be read: there is no such file")
    assert run["two sources"].message == "definition: fdl is given too; give one of fdl, definition and names"


def test_options_come_from_the_environment_and_async_works(oldest: Ansible, daemon: Daemon, name: str) -> None:
    oldest.environ.update(OSCAR_ENDPOINT=daemon.url, OSCAR_USERNAME=daemon.username, OSCAR_PASSWORD=daemon.password)
    run = oldest.play([{**service("declare", definition=definition(name)), "async": 60, "poll": 1}])
    assert run["declare"].result["plan"][0]["action"] == "create"


def test_the_target_has_neither_yaml_nor_a_new_python() -> None:
    """What the other tests run on: Python 3.9 wherever it is installed, and nothing but the standard library."""
    code = "import sys, importlib.util as u; print(sys.version_info[:2] >= (3, 9), u.find_spec('yaml'))"
    assert subprocess.check_output([bare_python(), "-c", code], text=True).split() == ["True", "None"]


@pytest.fixture
def oscar(daemon: Daemon) -> Iterator[Any]:
    """The invoker behind a proxy that makes it look like an existing OSCAR, which has no /v2."""
    with proxy_to(daemon.url, without_v2=True) as proxy:
        yield proxy


def test_an_existing_oscar_server(oldest: Ansible, daemon: Daemon, oscar: Any, name: str) -> None:
    exposed = definition(name, expose={"api_port": 8080})
    secret = definition(name, environment={"secrets": {"API_KEY": SECRETS[0]}})
    run = oldest.play(
        [
            service("creation is checked", check=True, definition=exposed),
            service("it is created", definition=exposed),
            service("it is created again", definition=exposed),
            service("it is updated", definition={**exposed, "memory": "512Mi", "timeout": "5m"}),
            service("a secret is added", definition=secret),
            service("a secret is sent again", definition=secret),
            service("it is kept", name=name, state="absent"),
            service("removal is checked", check=True, name=name, state="absent", data="delete"),
            service("it is removed", name=name, state="absent", data="delete"),
            service("it is removed again", name=name, state="absent"),
        ],
        "--diff",
        "-vvv",
        module_defaults=access(daemon, oscar.url),
    )
    changed = {task.name: task.changed for task in run.tasks if task.status == "ok"}
    assert changed == {
        "creation is checked": True,
        "it is created": True,
        "it is created again": False,
        "it is updated": True,
        "a secret is added": True,
        "a secret is sent again": True,
        "removal is checked": True,
        "it is removed": True,
        "it is removed again": False,
    }
    assert run["it is created"].diff == run["creation is checked"].diff
    assert run["it is updated"].diff == "- memory: 256Mi\n+ memory: 512Mi"
    (warning,) = run["it is updated"].result["warnings"]
    assert warning == f"service {name}: timeout has no effect on an existing OSCAR server"
    assert "deletes the buckets of a service with it; if that is meant, set data to delete" in run["it is kept"].message
    assert SECRETS[0] not in run.output
    sent = [(one.method, one.target) for one in oscar.mutating if one.status < 400]
    services = "/system/services"
    assert sent == [("POST", services), *[("PUT", services)] * 3, ("DELETE", f"{services}/{name}")]
    bodies = [json.loads(one.body) for one in oscar.mutating if one.status < 400 and one.body]
    assert bodies[0]["expose"] == {"api_port": 8080}
    assert bodies[-1]["environment"]["secrets"] == {"API_KEY": SECRETS[0]}


def test_an_existing_oscar_server_gets_a_file_as_its_clients_send_it(
    newest: Ansible, daemon: Daemon, oscar: Any, name: str, tmp_path: Path
) -> None:
    archive = {"s3": {"archive": {"access_key": "someone", "secret_key": SECRETS[2], "region": "eu-west-1"}}}
    output = [{"storage_provider": "s3.archive", "path": "archive/out"}]
    file = write_fdl(tmp_path, definition(name, output=output), storage_providers=archive)
    newest.play([service("declare", fdl=str(file))], module_defaults=access(daemon, oscar.url))
    (sent,) = [json.loads(one.body) for one in oscar.mutating if one.target == "/system/services"]
    assert (sent["cluster_id"], sent["script"]) == ("oscar-cluster", SCRIPT)
    assert sent["storage_providers"] == archive
