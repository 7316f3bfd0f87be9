# SPDX-License-Identifier: Apache-2.0
"""What a person asks of the next start, as files in the data folder."""

from __future__ import annotations

from pathlib import Path

WISH = "new-ledger"  # a new ledger, if the old one turns out to be lost


def wish_for(data: Path) -> None:
    """Ask for a new ledger at the next start, if the old one turns out to be lost."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    (data / WISH).touch()
