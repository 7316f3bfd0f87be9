# SPDX-License-Identifier: Apache-2.0
"""Parse the result of ``runner.sh``. The Job's user may have written it, so it is not trusted.

A result is at most 4 KiB of lines ``name=value``: ``phase``, ``exit``, ``reason``, ``summary``, ``outputs`` (how many
objects were stored) and one ``output`` for each object that fits; ``outputs.py`` reads those. Standard library only,
because the shim uses it too.
"""

from __future__ import annotations

from typing import NamedTuple

RESULT_MAX = 4096  # bytes, as for a termination message of Kubernetes
PHASES = ("stage_in", "script", "stage_out", "stopped", "done")
_REASON_MAX, _SUMMARY_MAX = 1000, 80  # characters
_TOTAL_MAX = 2**31 - 1
_STAGING_STATES = {121: "input_gone", 122: "input_changed"}  # exit codes of runner.sh
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), " ")


class Result(NamedTuple):
    """How the runner ended. ``phase`` is empty without a result; ``problem`` is why a result is unusable."""

    phase: str = ""
    exit: int = 0
    reason: str = ""
    summary: str = ""
    total: int = 0  # objects stored
    outputs: bytes = b""  # the lines of those that fit
    problem: str = ""


def parse_result(content: bytes) -> Result:
    """Return the result, an empty one if the runner was killed, or one with a problem."""
    if not content.strip():
        return Result()
    if len(content) > RESULT_MAX:
        return _unusable(f"it has more than {RESULT_MAX} bytes")
    lines = content.split(b"\n")
    fields = dict(reversed([_field(line) for line in lines if not line.startswith(b"output=")]))  # the first one wins
    if fields.get("phase") not in PHASES:
        return _unusable(f"its phase is {_shown(fields.get('phase', ''))}, not one of {', '.join(PHASES)}")
    code, total = _number(fields.get("exit", ""), 255), _number(fields.get("outputs", "0"), _TOTAL_MAX)
    if code is None:
        return _unusable(f"its exit code is {_shown(fields.get('exit', ''))}, not a number from 0 to 255")
    if total is None:
        return _unusable(f"its number of outputs is {_shown(fields['outputs'])}, not a number from 0 to {_TOTAL_MAX}")
    return Result(
        phase=fields["phase"],
        exit=code,
        reason=plain(fields.get("reason", ""), _REASON_MAX),
        summary=plain(fields.get("summary", ""), _SUMMARY_MAX),
        total=total,
        outputs=b"".join(line + b"\n" for line in lines if line.startswith(b"output=")),
    )


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.decode("utf-8", "replace").partition("=")
    return name, value


def _number(text: str, largest: int) -> int | None:
    """Return a decimal number of ASCII digits from 0 to ``largest``, or None."""
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(largest)) or int(text) > largest:
        return None
    return int(text)


def plain(text: str, length: int) -> str:
    """Return one line of text of at most that many characters, without control characters and surrogates."""
    return text.encode("utf-8", "replace").decode().translate(_CONTROL)[:length].strip()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def _unusable(problem: str) -> Result:
    return Result(problem=f"the result of the job cannot be used: {problem}")


def script_code(phase: str, code: int) -> int | None:
    """Return the script's own exit code, if it ended."""
    return {"script": code, "stage_out": 0, "done": 0}.get(phase)


def failure_state(phase: str, code: int) -> str:
    """Return the state of an attempt whose runner failed."""
    return "failed" if phase == "script" else _STAGING_STATES.get(code, "staging_failed")
