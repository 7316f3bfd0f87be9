# SPDX-License-Identifier: Apache-2.0
"""Why a file did or did not run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ExplanationCode = Literal[
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
class Explanation:
    """Why a file did or did not run, for one service ("" = none was concerned). job: the run's id, if there is one."""

    service: str
    answer: ExplanationCode
    detail: str = ""
    job: str | None = None


@dataclass(frozen=True, slots=True)
class ExplanationPage:
    """A page of answers about an object. cursor: leads to the next page, "" on the last."""

    answers: tuple[Explanation, ...]
    cursor: str = ""
