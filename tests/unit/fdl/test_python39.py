# SPDX-License-Identifier: Apache-2.0
"""The language runs on the oldest Python of a target, without anything beside the standard library."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from parts.fdl_cases import FULL

FOLDER = Path(__file__).parents[3] / "plugins" / "module_utils" / "_fdl"

PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import _fdl
document = json.load(sys.stdin)
service = _fdl.parse_service(document)
assert _fdl.to_document(service) == document
assert _fdl.from_document(document) == service
assert _fdl.find_loops([service]) == []
assert _fdl.match(service, "minio.default", "full-service", "in/img-1.jpg").kind == "match"
try:
    _fdl.parse_fdl({"functions": {"oscar": [{"c": {"memroy": 1}}]}})
except _fdl.FdlError as error:
    print(error.problems[0])
"""


def python39() -> str | None:
    """An interpreter of Python 3.9, if this machine has one that runs."""
    installed = [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python"))]
    for python in (*reversed(installed), shutil.which("python3.9")):
        check = "import sys; sys.exit(sys.version_info[:2] != (3, 9))"
        if python and subprocess.run([python, "-c", check], capture_output=True).returncode == 0:
            return python
    return None


def test_python_39() -> None:
    python = python39()
    if python is None:
        pytest.skip("there is no Python 3.9 on this machine")
    command = [python, "-I", "-W", "error", "-c", PROGRAM, str(FOLDER.parent)]
    result = subprocess.run(command, input=json.dumps(FULL), capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "functions.oscar[0].c.memroy: memroy is not a known field; did you mean memory?\n"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.name)
def test_only_the_standard_library_and_no_assert(path: Path) -> None:
    source = path.read_text()
    assert source.startswith("# SPDX-License-Identifier: BSD-2-Clause\n")
    for node in ast.walk(ast.parse(source, feature_version=(3, 9))):
        assert not isinstance(node, ast.Assert)
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").partition(".")[0] in sys.stdlib_module_names
        if isinstance(node, ast.Import):
            assert all(alias.name.partition(".")[0] in sys.stdlib_module_names for alias in node.names)
