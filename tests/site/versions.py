# SPDX-License-Identifier: Apache-2.0
"""The pinned versions of ``tools/versions.toml``."""

from __future__ import annotations

import tomllib

from settings import ROOT

VERSIONS: dict[str, str] = tomllib.loads((ROOT / "tools/versions.toml").read_text(encoding="utf-8"))
