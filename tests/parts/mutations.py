# SPDX-License-Identifier: Apache-2.0
"""Break the code in a copy of the package, and run the tests that must notice, in a process of their own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutation:
    """How to break one place. test: the one that must notice. file, old, new: the change, in src/oscar_fedcloud."""

    name: str
    test: str
    file: str
    old: str
    new: str


def check_noticed(mutations: Sequence[Mutation], folder: Path, *options: str) -> None:
    """Break all these places, and see that the test of each of them fails."""
    package = folder / "oscar_fedcloud"
    # Follows links. What is compiled comes along, but for files that another process is about to rename.
    shutil.copytree(ROOT / "src/oscar_fedcloud", package, ignore=shutil.ignore_patterns("*.pyc.*"))
    for mutation in mutations:
        target = package / mutation.file
        source = target.read_text()
        assert source.count(mutation.old) == 1, f"{mutation.name}: {mutation.file} has not exactly one place to mutate"
        target.write_text(source.replace(mutation.old, mutation.new))
    tests = sorted({f"{ROOT}/tests/{mutation.test}" for mutation in mutations})
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", *options, *tests],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=180,
        cwd=ROOT,
    )
    assert result.returncode == 1, f"nobody noticed:\n{result.stdout}{result.stderr}"
    assert re.search(rf"\b{len(tests)} failed in ", result.stdout), f"not all was noticed:\n{result.stdout}"
