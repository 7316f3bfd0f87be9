# SPDX-License-Identifier: Apache-2.0
"""Facts that stand in several places agree: action group, documentation, options."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml
from parts.ansible_run import ROOT

MODULES = sorted((ROOT / "plugins" / "modules").glob("[a-z]*.py"))
CLIENTS = [module for module in MODULES if module.stem != "port_probe"]  # all others talk to the invoker


def documentation(module: Path) -> dict[str, Any]:
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            found: dict[str, Any] = yaml.safe_load(ast.literal_eval(node.value))
            return found
    raise AssertionError(f"{module} has no DOCUMENTATION")


def test_the_action_group_has_all_clients() -> None:
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert runtime["action_groups"]["oscar"] == [module.stem for module in CLIENTS]


@pytest.mark.parametrize("module", CLIENTS, ids=lambda module: module.stem)
def test_every_client_has_the_common_fragments(module: Path) -> None:
    fragments = documentation(module)["extends_documentation_fragment"]
    assert set(fragments) >= {
        "fedcloud.oscar._connection",
        "fedcloud.oscar._attributes",
        "fedcloud.oscar._attributes.actiongroup_oscar",
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_every_module_is_small(module: Path) -> None:
    """A module is documentation, options and ``main``; what it does is in module_utils."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    code = [node for node in tree.body if not isinstance(node, ast.Assign)]
    assert sum((node.end_lineno or 0) - node.lineno + 1 for node in code) <= 150
