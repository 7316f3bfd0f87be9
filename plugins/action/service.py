# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The controller's half of fedcloud.oscar.service: reads FDL and scripts, and hands plain data to the module.

FDL files are read by the language's own reader, which keeps scalars as they are written; Ansible's loader decrypts what
the vault encrypted. What was read goes into the module's option ``payload``, which is ``no_log`` as a whole: FDL holds
secrets, and a target logs the other options to its syslog.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import textwrap
from dataclasses import replace

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

from ..module_utils._api.client import as_errors, describe
from ..module_utils._fdl import (
    FDL_NAMES,
    FILE,
    HIDDEN,
    LARGEST_FDL,
    LARGEST_SCRIPT,
    FdlError,
    FdlProblem,
    OutsideError,
    fdl_files,
    hide,
    lies_in,
    parse_fdl,
    parse_service,
    read_file,
    read_text,
    resolve,
    to_document,
)

# Shorter values are not masked in the module's results: they would be found inside ordinary words.
SHORTEST_MASKED = 6

SOURCES = ("fdl", "definition", "names", "name")

EVENTS = functools.partial(yaml.parse, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))

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
        self._warnings = []
        self._decrypted = set()
        try:
            args = self._module_args(self._task.args)
        except FdlError as error:
            problems = [self._without_decrypted(problem) for problem in error.problems]
            result.update(failed=True, msg=describe(problems), errors=as_errors(problems))
            return result
        wrap_async = self._task.async_val
        result.update(self._execute_module(module_args=args, task_vars=task_vars, wrap_async=wrap_async))
        if self._warnings:
            result["warnings"] = [*self._warnings, *(result.get("warnings") or ())]
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
            args["payload"] = json.dumps(self._from_path(args["fdl"], self._script_folders(args)))
        elif "definition" in args:
            args["payload"] = json.dumps(self._from_definition(args.pop("definition")))
        return args

    def _script_folders(self, args):
        """The folders besides that of an FDL file in which scripts may lie."""
        folders = args.get("script_folders") or []
        if isinstance(folders, str):
            folders = folders.split(",")
        return [self._loader.path_dwim(os.path.expanduser(str(folder).strip())) for folder in folders]

    def _from_path(self, name, folders):
        """The payload of an FDL file, or of all FDL files in a folder."""
        try:
            path = self._find(name)
        except OSError as error:
            raise FdlError([_unreadable("fdl", name, error)]) from error
        if not os.path.isdir(path):
            source, document, fdl = self._from_file(str(name), path, folders)
            return self._payload({"fdl": document}, [(source, fdl)])
        found = []
        problems = []
        for file in self._files(name, path):
            try:
                source, _document, fdl = self._from_file(os.path.relpath(file, path), file, folders)
                found.append((source, fdl))
            except FdlError as error:
                problems.extend(error.problems)
        if not found and not problems:
            hint = f"name its FDL files {FDL_NAMES}"
            problems.append(FdlProblem("fdl", str(name), f"the folder '{name}' holds no FDL file", hint))
        if problems:
            raise FdlError(problems)
        documents = [to_document(service) for _source, fdl in found for service in fdl.services]
        return self._payload({"services": documents}, found)

    def _files(self, name, folder):
        """The FDL files in a folder. Raises FdlError."""
        try:
            return fdl_files(folder)
        except OSError as error:
            raise FdlError([_unreadable("fdl", name, error)]) from error

    def _from_file(self, name, file, folders):
        """Read an FDL file; return its source, its document with scripts in place, and what it declares."""
        tags = {"!vault": self._decrypt, "!vault-encrypted": self._decrypt, "!unsafe": str}
        try:
            source = read_text(self._content(file, LARGEST_FDL), EVENTS, name, tags)
        except OSError as error:
            raise FdlError([_unreadable("fdl", name, error)]) from error
        document = resolve(FILE, source.data)
        scripts = {}

        def read_script(script):
            if script not in scripts:
                scripts[script] = self._script(file, script, folders)
            return scripts[script]

        try:
            fdl = parse_fdl(document, read_script)
        except FdlError as error:
            raise FdlError(source.placed(error.problems)) from error
        for item in document["functions"].get("oscar", ()):
            for service in item.values():
                service["script"] = scripts.get(service["script"], service["script"])
        return source, document, fdl

    def _script(self, file, script, folders):
        """The script that an FDL file names. Raises OSError, UnicodeDecodeError."""
        home = os.path.dirname(file)
        path = os.path.join(home, script)
        if not lies_in(path, (home, *folders)):
            raise OutsideError(f"{script} lies outside the folder of the FDL file")
        return self._content(path, LARGEST_SCRIPT).decode("utf-8")

    def _from_definition(self, definition):
        """The payload of one service inline."""
        document = _plain(definition)
        problems = []
        script = document.get("script") if isinstance(document, dict) else None
        if isinstance(script, str) and script and "\n" not in script:
            try:
                document["script"] = self._content(self._find(script), LARGEST_SCRIPT).decode("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                problems.append(_unreadable("definition.script", script, error))
        try:
            service = parse_service(document, "definition")
        except FdlError as error:
            problems.extend(error.problems)
        if problems:
            raise FdlError(problems)
        self._warnings.extend(_no_texts(definition))
        secrets = _secrets([service])
        place = {"file": "", "path": "definition"}
        return {"request": {"services": [document]}, "places": [place], "names": [service.name], "secrets": secrets}

    def _find(self, name):
        """The path on the controller that a task means, found as copy finds it. Raises FileNotFoundError."""
        try:
            return self._find_needle("files", str(name))
        except (AnsibleError, ValueError) as error:
            raise FileNotFoundError("there is no such file on the controller") from error

    def _content(self, file, largest):
        """The bytes of a file, decrypted if the vault encrypted it as a whole. Raises OSError."""
        read_file(file, largest)  # refuses what is no regular file before Ansible waits for it
        try:
            return read_file(self._loader.get_real_file(file), largest)
        except AnsibleError as error:
            raise OSError(" ".join(str(error).split())) from error

    def _decrypt(self, text):
        """The text that ``!vault`` stands for. Raises ValueError."""
        try:
            value = str(self._loader.load("!vault |\n" + textwrap.indent(text, "  ")))
        except AnsibleError as error:
            raise ValueError(" ".join(str(error).split())) from error
        self._decrypted.add(value)
        return value

    def _without_decrypted(self, problem):
        """The problem without the value, where it shows what ``!vault`` stands for, or the beginning of it."""
        shown = problem.value
        if not isinstance(shown, str):
            return problem
        start = shown[:-3] if shown.endswith("...") and len(shown) > 60 else None
        secret = any(text.strip() == shown.strip() or (start and text.startswith(start)) for text in self._decrypted)
        if not secret:
            return problem
        return replace(problem, value=HIDDEN, message=problem.message.replace(repr(shown), "the value"))

    def _payload(self, request, found):
        """What the module gets of FDL files: sources, and what these declare."""
        services = [service for _source, fdl in found for service in fdl.services]
        secrets = {*_secrets(services), *(text for text in self._decrypted if len(text) >= SHORTEST_MASKED)}
        return {
            "request": request,
            "places": [{"file": source.name, "path": place} for source, fdl in found for place in fdl.places],
            "positions": {source.name: source.places() for source, _fdl in found},
            "names": [service.name for service in services],
            "secrets": sorted(secrets),
        }


def _no_texts(definition):
    """Warnings about values of variables that were not written as text: Ansible has read them before."""
    groups = {
        f"{outer}.{inner}": value
        for outer in ("environment", "kserve")
        for inner, value in (definition.get(outer) or {}).items()
    }
    for group, values in groups.items():
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, (bool, int, float, datetime.date)):
                yield (
                    f"definition.{group}.{name} is no text, and Ansible does not tell how it was written: "
                    f"1.10 arrives as 1.1, 0755 as 493; put the value in quotes"
                )


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
    return FdlProblem(place, str(name), f"'{name}' cannot be read: {reason}", HINTS[place])


def _secrets(services):
    """The secret texts of services that are long enough to be masked."""
    documents = [to_document(service) for service in services]
    values = {value for document in documents for value in _secret_values(document, hide(document))}
    return sorted(value for value in values if len(value) >= SHORTEST_MASKED)


def _secret_values(full, shown):
    """The texts of a document that are hidden in its other form."""
    if full == shown:
        return
    if isinstance(full, (dict, list)):
        for key in full if isinstance(full, dict) else range(len(full)):
            yield from _secret_values(full[key], shown[key])
    else:
        yield str(full)
