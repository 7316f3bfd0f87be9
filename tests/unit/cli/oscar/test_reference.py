# SPDX-License-Identifier: Apache-2.0
"""The page of the command says what the command says."""

from __future__ import annotations

from pathlib import Path

from oscar_fedcloud.cli.oscar.reference import written

PAGE = Path(__file__).parents[4] / "docs" / "oscar.md"


def test_the_reference_is_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert written(text) == text, "run: python -m oscar_fedcloud.cli.oscar.reference docs/oscar.md"
