# SPDX-License-Identifier: Apache-2.0
"""What ``runner.sh`` leaves of its end: lines ``phase=``, ``exit=`` and ``reason=``. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable

_STAGING_STATES = {121: "input_gone", 122: "input_changed"}  # exit codes of runner.sh


def parse_result(lines: Iterable[str]) -> dict[str, str]:
    """The fields of a result; nothing if the runner was killed."""
    return dict(line.rstrip("\n").split("=", 1) for line in lines if "=" in line)


def script_code(phase: str, code: int) -> int | None:
    """The script's own exit code, if it ended."""
    return {"script": code, "stage_out": 0, "done": 0}.get(phase)


def failure_state(phase: str, code: int) -> str:
    """The state of an attempt that its runner ended without success."""
    return "failed" if phase == "script" else _STAGING_STATES.get(code, "staging_failed")
