# SPDX-License-Identifier: Apache-2.0
"""Explanations why a file did or did not run."""

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
    """Why a file did or did not run, for one service.

    Attributes:
        service: empty if no service was concerned.
        job: the run's id, if there is one.
    """

    service: str
    answer: ExplanationCode
    detail: str = ""
    job: str | None = None


@dataclass(frozen=True, slots=True)
class ExplanationPage:
    """A page of explanations for an object.

    Attributes:
        cursor: leads to the next page; empty on the last page.
    """

    answers: tuple[Explanation, ...]
    cursor: str = ""
