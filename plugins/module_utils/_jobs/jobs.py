# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: jobs of the invoker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._api.client import PAGE, ApiError, Client, OscarError, path
from .._api.wait import TimedOut, poll

ACTIVE = ("queued", "running")

# What a task may ask for by an action, as the state that it used to want.
ACTIONS = {"cancel": "cancelled", "retry": "retried", "replay": "replayed"}

# What is asked of a job in which state, by the state that the task wants. In any other state there is nothing to do.
VERBS = {
    "cancelled": ("cancel", ACTIVE),
    "retried": ("retry", ("failed", "cancelled", "superseded", "input_gone")),
    "replayed": ("replay", ("succeeded", "failed", "cancelled", "superseded", "input_gone")),
}


def verb_for(wanted: str, state: str) -> str | None:
    """The verb of the API that brings a job of this state to where it is wanted, or None."""
    verb, states = VERBS[wanted]
    return verb if state in states else None


def get_job(client: Client, job_id: str) -> Any:
    """A job with its attempts."""
    return client.get(path("v2", "jobs", job_id))


def wait_ended(client: Client, job_id: str, timeout: float) -> Any:
    """The job once it has ended, with its attempts. Raises TimedOut, with the job as it was seen last."""
    seen: dict[str, Any] = {}

    def probe() -> Any:
        job = seen["job"] = get_job(client, job_id)
        return None if job["state"] in ACTIVE else job

    try:
        return poll(probe, timeout, lambda: f"job {job_id} is still {_standing(seen['job'])}")
    except TimedOut as error:
        error.details.update(seen)
        raise


def _standing(job: dict[str, Any]) -> str:
    """The state of a job with its reason."""
    return f"{job['state']}: {job['reason']}" if job["reason"] else job["state"]


def log_of(client: Client, job_id: str, tail: int | None = None) -> str | None:
    """The log of the job's latest attempt (its last ``tail`` lines), or None when there is none."""
    try:
        return client.text(path("v2", "jobs", job_id, "log"), tail=tail)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


def change_job(client: Client, job_id: str, wanted: str, check_mode: bool, timeout: float) -> dict[str, Any]:
    """Bring a job where it is wanted; returns ``changed``, ``job``, and the ``reason`` why nothing was done.

    A job that is to be cancelled is waited for, at most ``timeout`` seconds, so that the answer is final.
    """
    job = get_job(client, job_id)
    verb = verb_for(wanted, job["state"])
    changed = verb is not None
    if verb and not check_mode:
        changed = _ask(client, job_id, wanted, verb)
        job = wait_ended(client, job_id, timeout) if wanted == "cancelled" else get_job(client, job_id)
        changed = changed and (wanted != "cancelled" or job["state"] == "cancelled")
    reason = "" if changed or job["state"] == wanted else f"a job that is {job['state']} cannot be {wanted}"
    return {"changed": changed, "job": job, "reason": reason}


def _ask(client: Client, job_id: str, wanted: str, verb: str) -> bool:
    """Send the verb; False when the job's state had changed meanwhile so that there is nothing to do any more."""
    try:
        client.post(path("v2", "jobs", job_id + ":" + verb))
    except ApiError as error:
        if error.status != 409 or verb_for(wanted, get_job(client, job_id)["state"]):
            raise
        return False
    return True


def explain(client: Client, question: Mapping[str, Any]) -> dict[str, Any]:
    """What became of an object, all pages of it."""
    found = client.get("/v2/why", **question)
    cursor = found.pop("cursor", "")
    while cursor:
        page = client.get("/v2/why", cursor=cursor, **question)
        found["answers"] += page["answers"]
        cursor = page["cursor"]
    return found


def list_jobs(client: Client, limit: int, **filters: Any) -> list[Any]:
    """At most ``limit`` jobs, newest first, read page by page. Raises OscarError."""
    if limit < 1:
        raise OscarError(f"limit must be at least 1, not {limit}")
    jobs: list[Any] = []
    cursor = None
    while len(jobs) < limit:
        page = client.get("/v2/jobs", limit=min(limit - len(jobs), PAGE), cursor=cursor, **filters)
        jobs += page["jobs"]
        cursor = page["cursor"]
        if not cursor:
            break
    return jobs
