# SPDX-License-Identifier: Apache-2.0
"""Jobs as table rows, and their states in words. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oscar_fedcloud.cli.oscar.text import Column, age

ACTIVE = ("queued", "running")
_COLUMNS = (
    Column("JOB"),
    Column("SERVICE", shrinks=True),
    Column("STATE"),
    Column("AGE"),
    Column("FILE", shrinks=True),
)
_REASON = Column("REASON", shrinks=True)


def columns(reasons: bool) -> Sequence[Column]:
    """Return the columns of a table of jobs, with one for reasons if any job has one."""
    return (*_COLUMNS, _REASON) if reasons else _COLUMNS


def row(job: Mapping[str, Any], now: float, reasons: bool) -> Sequence[str]:
    """Return a job as a row of that table."""
    shown = (str(job["id"]), str(job["service"]), str(job["state"]), age(job.get("created"), now), place(job))
    return (*shown, reason(job)) if reasons else shown


def place(job: Mapping[str, Any]) -> str:
    """Return bucket and key of a job's input; "" for a body that came by HTTP."""
    bucket, key = job.get("bucket") or "", job.get("key") or ""
    if job.get("via") == "http":
        return "(request)"
    return f"{bucket}/{key}" if bucket else str(key)


def reason(job: Mapping[str, Any]) -> str:
    """Return why a job is in its state: its wait reason, the reason of its end, or its script's result summary."""
    waiting = job.get("waiting") or {}
    return str(job.get("reason") or waiting.get("detail") or job.get("summary") or "")


def ended(job: Mapping[str, Any]) -> bool:
    """Return whether a job has ended."""
    return job["state"] not in ACTIVE
