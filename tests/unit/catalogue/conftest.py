# SPDX-License-Identifier: Apache-2.0
"""The documents that the tests of the language share are tested here, too."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fdl"))
