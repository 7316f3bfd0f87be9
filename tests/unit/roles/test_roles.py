# SPDX-License-Identifier: Apache-2.0
"""What must be so in every role and playbook: documented interfaces, and no task that hides a change or an error."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import jinja2.nodes
import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = sorted(file.parents[1] for file in ROOT.glob("roles/*/meta/argument_specs.yml"))
PLACES = ("roles/*/tasks", "roles/*/handlers", "playbooks", "playbooks/tasks")
FILES = sorted(file for place in PLACES for file in ROOT.glob(f"{place}/*.yml"))

Task = dict[str, Any]

# Modules that only read, or that run a command, of which only its author knows whether it writes.
MAY_BE_UNCHANGED = {
    "assert", "command", "debug", "fail", "find", "getent", "include_role", "include_tasks", "package_facts", "ping",
    "service_facts", "set_fact", "setup", "shell", "slurp", "stat", "uri", "wait_for", "wait_for_connection",
}  # fmt: skip
OUR_MODULES = {file.stem for file in (ROOT / "plugins" / "modules").glob("[a-z]*.py")}

# Downloads without a checksum, with what is checked instead.
OTHERWISE_CHECKED = {("kubernetes", "Download the repository's key"): "the key's fingerprint, before it is trusted"}

KEYWORDS = {
    "always", "any_errors_fatal", "args", "async", "become", "become_flags", "become_user", "block", "changed_when",
    "check_mode", "collections", "connection", "delay", "delegate_facts", "delegate_to", "diff", "environment",
    "failed_when", "handlers", "ignore_errors", "ignore_unreachable", "listen", "loop", "loop_control",
    "module_defaults", "name", "no_log", "notify", "poll", "register", "rescue", "retries", "run_once", "tags",
    "throttle", "timeout", "until", "vars", "when",
}  # fmt: skip


@functools.cache
def load(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def tasks_of(file: Path) -> Iterator[Task]:
    """All tasks of a task file or playbook, in blocks too."""
    found = load(file) or []
    for part in found:
        if "hosts" in part:
            for section in ("pre_tasks", "tasks", "post_tasks", "handlers"):
                yield from within(part.get(section) or [])
    if file.parent.name in ("tasks", "handlers"):
        yield from within(found)


def within(tasks: list[Task]) -> Iterator[Task]:
    for task in tasks:
        yield task
        for section in ("block", "rescue", "always"):
            yield from within(task.get(section) or [])


def module_of(task: Task) -> str:
    """The module's full name; empty for a block."""
    names = [key for key in task if key not in KEYWORDS and not key.startswith("with_")]
    assert len(names) == bool("block" not in task), f"{task.get('name')}: {names}"
    return names[0] if names else ""


in_each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))


@in_each_file
def test_tasks_hide_neither_errors_nor_changes(file: Path) -> None:
    for task in tasks_of(file):
        name = task.get("name")
        assert "ignore_errors" not in task, name
        assert "ignore_unreachable" not in task, name
        if task.get("changed_when") is False:
            assert module_of(task).rpartition(".")[2] in MAY_BE_UNCHANGED, f"{name} writes, so it must say when it has"


@in_each_file
def test_only_modules_of_ansible_core_and_of_this_collection(file: Path) -> None:
    for task in tasks_of(file):
        collection, _, name = module_of(task).rpartition(".")
        ours = collection == "fedcloud.oscar" and name in OUR_MODULES
        assert ours or collection in ("", "ansible.builtin"), task["name"]
        assert collection or not name, f"{task['name']}: write ansible.builtin.{name}"


@in_each_file
def test_downloads_are_checked(file: Path) -> None:
    for task in tasks_of(file):
        assert not problem_of_download(file.parents[1].name, task), task["name"]


def problem_of_download(role: str, task: Task) -> str:
    """What is wrong with a task that downloads; empty if nothing."""
    module = module_of(task)
    given = task[module] if isinstance(task.get(module), dict) else {}
    found = {
        "get_url": not given.get("checksum") and (role, task.get("name")) not in OTHERWISE_CHECKED,
        "uri": "dest" in given,
        "unarchive": "://" in str(given.get("src")),
        "apt": "://" in str(given) or given.get("allow_unauthenticated"),
        "dnf": "://" in str(given) or given.get("disable_gpg_check"),
        "package": "://" in str(given),
        "apt_key": True,  # deb822_repository has a key that is for its repository only
        "apt_repository": True,
        "deb822_repository": given.get("state") != "absent" and (not given.get("signed_by") or given.get("trusted")),
        "yum_repository": given.get("state") != "absent"
        and (given.get("gpgcheck") is not True or not given.get("gpgkey")),
        "rpm_key": given.get("state") != "absent" and not given.get("fingerprint"),
    }
    if given.get("validate_certs") is False:
        return "it does not check who answers"
    return "it downloads what is not checked" if found.get(module.rpartition(".")[2]) else ""


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_defaults_are_those_of_the_argument_specs(role: Path) -> None:
    defaults = load(role / "defaults" / "main.yml") or {}
    options = {}
    for entry in load(role / "meta" / "argument_specs.yml")["argument_specs"].values():
        options.update(entry.get("options", {}))
    assert set(defaults) == {name for name, option in options.items() if not option.get("required")}
    for name, value in defaults.items():
        documented = options[name].get("default")
        if "{{" in str(value):
            # It is worked out on the machine: not stated, or as what it comes to, with <words> for what differs.
            assert documented is None or isinstance(documented, str), name
        else:
            assert documented == value, name


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_everything_is_described(role: Path) -> None:
    def check(options: dict[str, Any], path: str) -> None:
        for name, option in options.items():
            assert option.get("description"), f"{path}.{name} has no description"
            assert option.get("type"), f"{path}.{name} has no type"
            assert option["type"] != "list" or option.get("elements"), f"{path}.{name} has no elements"
            check(option.get("options", {}), f"{path}.{name}")

    for name, entry in load(role / "meta" / "argument_specs.yml")["argument_specs"].items():
        assert entry.get("short_description"), name
        check(entry.get("options", {}), name)


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_variables_are_named_after_their_role(role: Path) -> None:
    public, private = f"{role.name}_", f"__{role.name}_"
    assert all(name.startswith(public) for name in load(role / "defaults" / "main.yml") or {})
    variables = [name for file in role.glob("vars/*.yml") for name in load(file) or {}]
    tasks = [task for file in role.glob("[th]a*/*.yml") for task in tasks_of(file)]
    variables += [task["register"] for task in tasks if "register" in task]
    assert [name for name in variables if not name.startswith((public, private))] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_variable_is_used(role: Path) -> None:
    names = [name for file in role.glob("[dv]*/*.yml") for name in load(file) or {}]
    files = [
        file for part in ("defaults", "handlers", "tasks", "templates", "vars") for file in role.rglob(f"{part}/*")
    ]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())
    # Its definition is one mention.
    assert [name for name in names if len(re.findall(rf"\b{name}\b", text)) < 2] == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_task_file_is_used(role: Path) -> None:
    used = set(load(role / "meta" / "argument_specs.yml")["argument_specs"])
    for file in FILES:
        for task in tasks_of(file):
            for module in ("include_tasks", "import_tasks", "include_role", "import_role"):
                given = task.get(f"ansible.builtin.{module}")
                if module.endswith("_tasks") and role in file.parents:
                    used.add(str(given["file"] if isinstance(given, dict) else given))
                elif module.endswith("_role") and given and given["name"].rpartition(".")[2] == role.name:
                    used.add(str(given.get("tasks_from", "main")))
    # A name that is worked out stands for all that fit.
    patterns = [re.sub(r"\\\{\\\{.*?\\\}\\\}", ".+", re.escape(name.removesuffix(".yml"))) for name in used]
    names = [file.stem for file in role.glob("tasks/*.yml")]
    assert [name for name in names if not any(re.fullmatch(pattern, name) for pattern in patterns)] == []


def test_the_tables_of_variables_are_up_to_date() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools" / "role_docs.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_exceptions_are_still_needed() -> None:
    for (role, name), _reason in OTHERWISE_CHECKED.items():
        files = [file for file in FILES if file.parent == ROOT / "roles" / role / "tasks"]
        assert not files or any(task.get("name") == name for file in files for task in tasks_of(file))


# Names that say nothing to whoever reads a log: one word, a pronoun instead of what is meant, a statement.
VAGUE = re.compile(
    r"\S+|(it|they|them|this|that|these|there|someone|nobody|what|who)\b.*"
    r"|(know|note|see|look at|ask again|go back|say|tell)\b.*"
    r"|.*\b(must|it|them|they|him|again|anew|so|itself|themselves)",
    re.IGNORECASE,
)


@pytest.mark.parametrize(
    "name", ["Use it", "Ask again", "Go back", "Know the host", "It must be ready", "Run", "Copy them"]
)
def test_vague_names_are_recognised(name: str) -> None:
    assert VAGUE.fullmatch(name)


@in_each_file
def test_names_of_tasks_stand_alone_in_a_log(file: Path) -> None:
    names = [str(task.get("name", "")) for task in tasks_of(file)]
    assert [name for name in names if VAGUE.fullmatch(name)] == []


@pytest.mark.parametrize(
    "role", [role for role in ROLES if (role / "tasks/main.yml").exists()], ids=lambda role: role.name
)
def test_tasks_have_the_tag_of_their_role(role: Path) -> None:
    """So that a part of a role runs by its tag, in any playbook; facts are always gathered. Old names have no tags."""
    if role.name == "service_account":
        return
    for task in load(role / "tasks" / "main.yml"):
        tags = set(task.get("tags", []))
        assert tags & {role.name, "always"}, task["name"]
        assert all(tag == "always" or tag.split("_")[0] == role.name.split("_")[0] for tag in tags), task["name"]


@in_each_file
def test_what_is_included_has_the_tags_of_its_include(file: Path) -> None:
    """Tags of a dynamic include choose the include alone; what it brings needs them, too."""
    if file.name != "main.yml" or file.parent.name != "tasks":
        return
    for task in tasks_of(file):
        for module in ("include_tasks", "include_role"):
            given = task.get(f"ansible.builtin.{module}")
            if given and "tags" in task:
                assert isinstance(given, dict), task["name"]
                assert given.get("apply", {}).get("tags") == task["tags"], task["name"]


# What Ansible itself defines.
MAGIC = re.compile(r"ansible_\w+|inventory_(hostname|dir)|groups|hostvars|play_hosts|playbook_dir|role_path|omit|item")
FUNCTIONS = {"lookup", "query", "now", "dict"}
CONDITIONS = ("when", "until", "changed_when", "failed_when", "that")


def expressions(value: Any, key: str = "") -> Iterator[str]:
    """All templates in a YAML document, conditions as templates too."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from expressions(inner, str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from expressions(inner, key)
    elif isinstance(value, str) and key in CONDITIONS and "{{" not in value:
        yield "{{ " + value + " }}"
    elif isinstance(value, str) and ("{{" in value or "{%" in value):
        yield value


def names_read(template: str) -> set[str]:
    with warnings.catch_warnings(
        action="ignore"
    ):  # of backslashes in regular expressions, which Ansible takes as they are
        tree = jinja2.Environment().parse(template)
    found = list(tree.find_all(jinja2.nodes.Name))
    own = {name.name for name in found if name.ctx != "load"}
    own |= {macro.name for macro in tree.find_all(jinja2.nodes.Macro)}
    return {name.name for name in found if name.ctx == "load"} - own - FUNCTIONS


def variables_read(role: Path) -> dict[str, set[str]]:
    """The variables that each file of a role reads, without those that its tasks give one another."""
    found = {}
    for file in sorted(
        path for part in ("defaults", "vars", "tasks", "handlers") for path in role.glob(f"{part}/*.yml")
    ):
        read = {name for text in expressions(load(file)) for name in names_read(text)}
        tasks = list(tasks_of(file)) if file.parent.name in ("tasks", "handlers") else []
        given = {name for task in tasks for name in task.get("vars", {})}
        given |= {str(task.get("loop_control", {}).get("loop_var", "item")) for task in tasks}
        found[str(file.relative_to(role))] = read - given
    for file in sorted(role.glob("templates/*.j2")):
        found[str(file.relative_to(role))] = names_read(file.read_text(encoding="utf-8"))
    return found


@functools.cache
def documented(role: Path) -> tuple[set[str], str]:
    """The options of all entry points of a role, and the whole text of its argument specs."""
    text = (role / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    entries = yaml.safe_load(text)["argument_specs"].values()
    return {name for entry in entries for name in entry.get("options", {})}, text


@functools.cache
def facts_of(role: Path) -> set[str]:
    """What tasks of a role leave behind for others: the names of its facts and results."""
    tasks = [task for file in role.glob("tasks/*.yml") for task in tasks_of(file)]
    found = {name for task in tasks for name in task.get("ansible.builtin.set_fact", {})}
    return found | {task["register"] for task in tasks if "register" in task}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_argument_specs_name_every_variable_that_a_role_reads(role: Path) -> None:
    """Its own variables, those of other roles by their specs, and no private variable of another role."""
    options, text = documented(role)
    private = f"__{role.name}_"
    public = set().union(*(documented(other)[0] | facts_of(other) for other in ROLES))
    public = {name for name in public if not name.startswith("__")}
    for file, names in variables_read(role).items():
        strange = {
            name
            for name in names - options
            if not (MAGIC.fullmatch(name) or name.startswith(private) or name in public or f"C({name})" in text)
        }
        assert strange == set(), f"{role.name}/{file} reads what no argument spec names"


@in_each_file
def test_task_files_and_templates_of_another_role_are_not_used(file: Path) -> None:
    """Roles meet at entry points, which argument specs describe."""
    entries = {role.name: set(load(role / "meta/argument_specs.yml")["argument_specs"]) for role in ROLES}
    for task in tasks_of(file):
        for module in ("include_role", "import_role"):
            given = task.get(f"ansible.builtin.{module}")
            if given and "{{" not in given["name"]:
                assert given.get("tasks_from", "main") in entries[given["name"].rpartition(".")[2]], task["name"]
                assert not given.get("public"), task["name"]
    assert not re.search(r"role_path ~ '/\.\.|/\.\./roles/", file.read_text(encoding="utf-8"))


def test_entry_points_of_preflight_check_no_variables() -> None:
    """Preflight names all that is wrong at once; an entry point with options would end at the first wrong type."""
    for file in (ROOT / "roles" / "preflight" / "tasks").glob("*.yml"):
        for task in tasks_of(file):
            given = task.get("ansible.builtin.include_role")
            if given:
                specs = load(ROOT / "roles" / given["name"].rpartition(".")[2] / "meta/argument_specs.yml")
                assert "options" not in specs["argument_specs"][given["tasks_from"]], task["name"]
