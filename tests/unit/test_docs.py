# SPDX-License-Identifier: Apache-2.0
"""The files that the documentation names exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
NAMED = re.compile(r"`((?:[\w.-]+/)*[\w-]+\.(?:py|sh|toml|yml))`")
# Written by the daemons or by users, not part of this tree.
ELSEWHERE = re.compile(
    r"(?:^|/)(?:config|site|fdl|services?|autoscaler|playbook|inventory|requirements|ports|security-groups)\.yml$"
)


@pytest.fixture(scope="module")
def tree() -> list[str]:
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = found.stdout.splitlines() or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
    return [f"/{name}" for name in names]


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_exist(page: str, tree: list[str]) -> None:
    named = {name for name in NAMED.findall((ROOT / page).read_text()) if not ELSEWHERE.search(name)}
    missing = [name for name in sorted(named) if not any(path.endswith(f"/{name}") for path in tree)]
    assert not missing
