# SPDX-License-Identifier: Apache-2.0
"""Wait reasons of jobs: the only list of causes, with their texts.

All functions are pure. ``waits`` gathers the facts from memory, so that a page of jobs needs no query. The API,
``why``, the backlog, the modules and the command line therefore give the same reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from oscar_fedcloud.domain.runs import Run, RunState

_SOON = 24 * 3600.0  # s within which the time of day identifies a moment


class Cause(StrEnum):
    """What a job waits for."""

    SERVICE_LIMIT = "service_limit"
    SITE_LIMIT = "site_limit"
    KEY_TURN = "key_turn"
    BACKOFF = "backoff"
    SERVICE_NOT_READY = "service_not_ready"
    KEY_PENDING = "key_pending"
    STORE_AWAY = "store_away"
    NO_NODE = "no_node"
    MACHINE_COMING = "machine_coming"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    STARTING = "starting"


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a job is not running yet, for programs (``code``) and for users (``detail``)."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """The facts about one service that waiting depends on.

    Attributes:
        state: the state in the catalogue; empty if the service is not declared.
        reason: why it is not ready.
        keys_of: the stores whose key is still being created.
        running: the number of its running jobs.
        concurrency: the number of its jobs that may run at the same time; 0 means no limit of its own.
        attempts: the maximum number of attempts of its script.
    """

    name: str
    state: str
    reason: str = ""
    keys_of: Sequence[str] = ()
    running: int = 0
    concurrency: int = 0
    attempts: int = 1


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """The facts about a site that waiting depends on, at one moment.

    Attributes:
        now: seconds since the epoch.
        running: the number of running jobs.
        max_running: the number of jobs that may run at the same time.
        service: returns the facts of a service by its name.
        holder: returns the id of the job that runs for the same service and key, or "".
        launching: whether the Job of this run's current attempt has not been handed to the launcher yet.
        told: what the launcher reports of a started Job that is not running yet, as code and detail.
        ledger: why the ledger cannot record the start of a job, or "".
    """

    now: float
    running: int
    max_running: int
    service: Callable[[str], ServiceFacts]
    holder: Callable[[Run], str]
    launching: Callable[[Run], bool]
    told: Callable[[Run], tuple[str, str] | None]
    ledger: str = ""


def wait_of(run: Run, site: SiteFacts) -> Wait | None:
    """Return why this run is not running yet, or None if it runs or has ended."""
    if run.state is RunState.QUEUED:
        return _with_history(run, _queued(run, site))
    if run.state is not RunState.RUNNING:
        return None
    if site.launching(run):
        return Wait(Cause.STARTING, "its Job is being started")
    told = site.told(run)
    return Wait(*told) if told else None


def waits_of(runs: Sequence[Run], site: SiteFacts) -> dict[str, Wait]:
    """Return the waits of all these runs by the id of the run."""
    return {run.id: wait for run in runs if (wait := wait_of(run, site)) is not None}


def _queued(run: Run, site: SiteFacts) -> Wait:
    service = site.service(run.service)
    if (wait := _unready(service)) is not None:
        return wait
    if run.not_before > site.now:
        return _backoff(run, service, site.now)
    if (holder := site.holder(run)) and holder != run.id:
        return Wait(Cause.KEY_TURN, f"another job of the same key runs (job {holder})")
    return _limit(service, site)


def place_wait(service: ServiceFacts, site: SiteFacts) -> Wait:
    """Return what any due job of this service waits for."""
    return _unready(service) or _limit(service, site)


def _unready(service: ServiceFacts) -> Wait | None:
    """Return why no job of the service may start, or None if they may."""
    name = service.name
    if service.state == "ready":
        return None
    if not service.state:
        return Wait(Cause.SERVICE_NOT_READY, f"service {name} is not declared")
    if service.state == "error":  # the store of a bucket, a listing or a key fails
        return Wait(Cause.STORE_AWAY, f"service {name} is in error: {service.reason}")
    if service.keys_of:
        stores = " and ".join(service.keys_of)
        return Wait(Cause.KEY_PENDING, f"the key of service {name} for store {stores} is being made")
    return Wait(Cause.SERVICE_NOT_READY, f"service {name} is not ready: {service.reason or service.state}")


def _backoff(run: Run, service: ServiceFacts, now: float) -> Wait:
    number = run.attempts + 1
    most = max(number, run.attempts - run.script_failures + service.attempts)
    return Wait(Cause.BACKOFF, f"tried again at {clock_time(run.not_before, now)} (attempt {number} of {most})")


def _limit(service: ServiceFacts, site: SiteFacts) -> Wait:
    if service.concurrency and service.running >= service.concurrency:
        places = f"{service.running:,} of {service.concurrency:,} jobs of service {service.name} run"
        return Wait(Cause.SERVICE_LIMIT, f"waits for a free place: {places}")
    if site.running >= site.max_running:
        return Wait(
            Cause.SITE_LIMIT, f"waits for a free place: the site runs {site.running:,} of {site.max_running:,} jobs"
        )
    if site.ledger:
        return Wait(Cause.LEDGER_UNAVAILABLE, f"a place is free, but no job can begin: {site.ledger}")
    return Wait(Cause.STARTING, "a place is free, it starts in a moment")


def _with_history(run: Run, wait: Wait) -> Wait:
    """Add how the previous attempt ended, which the ledger stores as the run's reason."""
    if not run.attempts or not run.reason:
        return wait
    return Wait(wait.code, f"{wait.detail}; attempt {run.attempts} ended: {run.reason}")


def clock_time(moment: float, now: float) -> str:
    """Return a moment in UTC for display, with its date unless it is within a day."""
    form = "%H:%M:%S UTC" if abs(moment - now) < _SOON else "%Y-%m-%d %H:%M:%S UTC"
    return datetime.fromtimestamp(moment, UTC).strftime(form)


@dataclass(frozen=True, slots=True)
class WaitingJobs:
    """The number of jobs of a service that wait for the same thing; ``detail`` is that of the newest."""

    service: str
    code: str
    count: int
    detail: str


def summary(
    runs: Sequence[Run], waits: Mapping[str, Wait], queued: Mapping[str, int], site: SiteFacts
) -> list[WaitingJobs]:
    """Return the queued jobs by service and cause.

    Args:
        runs: some of the queued runs.
        waits: why each of these waits.
        queued: the number of queued runs of each service; those beyond ``runs`` count as due.
    """
    found: dict[tuple[str, str], WaitingJobs] = {}
    left = dict(queued)
    for run in runs:
        if (wait := waits.get(run.id)) is not None and left.get(run.service, 0) > 0:
            left[run.service] -= 1
            _count(found, run.service, wait, 1)
    for name, count in left.items():
        if count > 0:
            _count(found, name, place_wait(site.service(name), site), count)
    return sorted(found.values(), key=lambda row: (row.service, row.code))


def _count(found: dict[tuple[str, str], WaitingJobs], service: str, wait: Wait, count: int) -> None:
    known = found.get((service, wait.code))
    total = count + (known.count if known else 0)
    found[service, wait.code] = WaitingJobs(service, wait.code, total, known.detail if known else wait.detail)
