# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of fedcloud.oscar.service: reads FDL and scripts, and hands plain data to the module.

What it read goes into the module's option ``payload``, which is ``no_log`` as a whole: FDL holds secrets, and a target
logs the other options to its syslog.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..module_utils._client import as_errors, describe
from ..module_utils._fdl import FdlError, FdlProblem, hide, parse_fdl, parse_service, to_document

# Shorter values are not masked in the module's results: they would be found inside ordinary words.
SHORTEST_MASKED = 6

SOURCES = ("fdl", "definition", "names", "name")

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

FDL_NAME = re.compile(r"(.+\.)?fdl\.(yml|yaml|json)")

HINTS = {
    "fdl": "give a file in YAML or JSON that the user who runs the playbook can read",
    "definition.script": "give the path of a script on the controller, or the script itself with a line break in it",
}


class ActionModule(ActionBase):
    """Replaces ``fdl`` or ``definition`` by ``payload`` and runs the module."""

    def run(self, tmp=None, task_vars=None):
        self._supports_check_mode = True
        self._supports_async = True
        result = super().run(tmp, task_vars)
        del tmp  # has no effect any more
        try:
            args = self._module_args(self._task.args)
        except FdlError as error:
            result.update(failed=True, msg=describe(error.problems), errors=as_errors(error.problems))
            return result
        wrap_async = self._task.async_val
        result.update(self._execute_module(module_args=args, task_vars=task_vars, wrap_async=wrap_async))
        if not wrap_async:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _module_args(self, given):
        """The module's arguments for those of the task. Raises FdlError with all that is wrong."""
        args = {name: value for name, value in given.items() if value is not None and name != "payload"}
        sources = [name for name in SOURCES if name in args]
        if len(sources) > 1:
            hint = "give one of fdl, definition and names"
            raise FdlError([FdlProblem(sources[1], None, f"{sources[0]} is given too", hint)])
        if "fdl" in args:
            args["payload"] = json.dumps(self._from_path(args["fdl"]))
        elif "definition" in args:
            args["payload"] = json.dumps(self._from_definition(args.pop("definition")))
        return args

    def _from_path(self, name):
        """The payload of an FDL file, or of all FDL files in a folder."""
        try:
            path = self._find(name)
        except OSError as error:
            raise FdlError([_unreadable("fdl", name, error)]) from error
        if not os.path.isdir(path):
            document, places, services = self._from_file(name, path)
            return _payload({"fdl": document}, places, services)
        everything = []
        problems = []
        for file in sorted(_fdl_files(path)):
            place = os.path.relpath(file, path)
            try:
                _document, places, services = self._from_file(place, file)
                everything.extend((f"{place}: {where}", service) for where, service in zip(places, services))
            except FdlError as error:
                problems.extend(replace(problem, path=f"{place}: {problem.path}") for problem in error.problems)
        if not everything and not problems:
            hint = "name its FDL files fdl.yml or NAME.fdl.yml, or with the endings yaml or json"
            problems.append(FdlProblem("fdl", name, f"the folder '{name}' holds no FDL file", hint))
        if problems:
            raise FdlError(problems)
        services = [service for _where, service in everything]
        documents = [to_document(service) for service in services]
        return _payload({"services": documents}, [where for where, _service in everything], services)

    def _from_file(self, name, file):
        """Of an FDL file: its document, with scripts in place, and its services with the places where they stand."""
        try:
            document = _plain(yaml.load(self._read(file), Loader=LOADER))  # noqa: S506 (both are safe loaders)
        except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise FdlError([_unreadable("fdl", name, error)]) from error
        scripts = {}

        def read_script(script):
            if script not in scripts:
                scripts[script] = self._read(os.path.join(os.path.dirname(file), script))
            return scripts[script]

        services = parse_fdl(document, read_script).services
        places = []
        for index, item in enumerate(document["functions"].get("oscar", ())):
            for cluster, service in item.items():
                places.append(f"functions.oscar[{index}].{cluster}")
                service["script"] = scripts.get(service["script"], service["script"])
        return document, places, services

    def _from_definition(self, definition):
        """The payload of one service inline."""
        document = _plain(definition)
        problems = []
        script = document.get("script") if isinstance(document, dict) else None
        if isinstance(script, str) and script and "\n" not in script:
            try:
                document["script"] = self._read(self._find(script))
            except (OSError, UnicodeDecodeError) as error:
                problems.append(_unreadable("definition.script", script, error))
        try:
            service = parse_service(document, "definition")
        except FdlError as error:
            problems.extend(error.problems)
        if problems:
            raise FdlError(problems)
        return _payload({"services": [document]}, ["definition"], [service])

    def _find(self, name):
        """The path on the controller that a task means, found as copy finds it. Raises FileNotFoundError."""
        try:
            return self._find_needle("files", str(name))
        except AnsibleError as error:
            raise FileNotFoundError("there is no such file on the controller") from error

    def _read(self, file):
        """The text of a file, decrypted if the vault encrypted it. Raises OSError, UnicodeDecodeError."""
        if not os.path.isfile(file):
            raise FileNotFoundError(f"{file} does not exist")
        with open(self._loader.get_real_file(file), encoding="utf-8", newline="") as text:
            return text.read()


def _fdl_files(folder):
    """The FDL files in a folder and in the folders below it."""
    for where, _folders, names in os.walk(folder):
        for name in names:
            if FDL_NAME.fullmatch(name):
                yield os.path.join(where, name)


def _plain(value):
    """The value in Python's own types, without those of Ansible and YAML for texts, dates and encrypted values."""
    if isinstance(value, dict):
        return {_plain(key): _plain(member) for key, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(member) for member in value]
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)


def _unreadable(place, name, error):
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())
    return FdlProblem(place, name, f"'{name}' cannot be read: {reason}", HINTS[place])


def _payload(request, places, services):
    documents = [to_document(service) for service in services]
    secrets = {value for document in documents for value in _secret_values(document, hide(document))}
    return {
        "request": request,
        "places": places,
        "names": [service.name for service in services],
        "secrets": sorted(value for value in secrets if len(value) >= SHORTEST_MASKED),
    }


def _secret_values(full, shown):
    """The texts of a document that are hidden in its other form."""
    if full == shown:
        return
    if isinstance(full, (dict, list)):
        for key in full if isinstance(full, dict) else range(len(full)):
            yield from _secret_values(full[key], shown[key])
    else:
        yield str(full)
