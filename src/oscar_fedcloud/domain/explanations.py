# SPDX-License-Identifier: Apache-2.0
"""Why a file did or did not run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal[
    "ran",
    "waiting",
    "running",
    "failed",
    "superseded",
    "filtered",
    "baseline",
    "no_service",
    "input_gone",
    "cancelled",
    "too_deep",
    "bad_key",
    "unknown",
]


@dataclass(frozen=True, slots=True)
class Answer:
    """Why a file did or did not run, for one service ("" = none was concerned). job: the run's id, if there is one."""

    service: str
    answer: Verdict
    detail: str = ""
    job: str | None = None


@dataclass(frozen=True, slots=True)
class Answers:
    """A page of answers about an object. cursor: leads to the next page, "" on the last."""

    answers: tuple[Answer, ...]
    cursor: str = ""
