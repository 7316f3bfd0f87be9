# SPDX-License-Identifier: Apache-2.0
"""The places that hold the version agree."""

from __future__ import annotations

import tomllib
from pathlib import Path

import yaml

import oscar_fedcloud

ROOT = Path(__file__).parents[2]


def test_one_version_everywhere() -> None:
    collection = yaml.safe_load((ROOT / "galaxy.yml").read_text())["version"]
    distribution = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    role = yaml.safe_load((ROOT / "roles" / "invoker" / "vars" / "main.yml").read_text())["__invoker_version"]
    # The same version in the notation of Python and in that of Ansible: 2.0.0.dev0, 2.0.0-dev0.
    assert distribution == role == oscar_fedcloud.__version__ == collection.replace("-dev", ".dev")
