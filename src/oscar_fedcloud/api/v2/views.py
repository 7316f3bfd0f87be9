# SPDX-License-Identifier: Apache-2.0
"""The types of responses under ``/v2``. The OpenAPI document is generated from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

Time = Annotated[str, Meta(description="RFC 3339, UTC")]
Key = Annotated[str, Meta(description="object key; a byte that is not UTF-8 is written as \\udcXX")]


class ServiceStatus(Struct, frozen=True):
    """Whether events start jobs of the service now, and if not, why."""

    state: Annotated[str, Meta(description="ready, pending or error")]
    reason: str


class Service(Struct, frozen=True):
    """A declared service. ``document`` is normalised, with all defaults shown and secrets hidden."""

    name: str
    revision: str
    status: ServiceStatus
    document: dict[str, Any]
    counts: Annotated[dict[str, int], Meta(description="jobs by state")]


class Services(Struct, frozen=True):
    """A page of the declared services, by name. ``cursor`` leads to the next page and is empty on the last."""

    services: list[Service]
    cursor: str


class Revision(Struct, frozen=True):
    """A revision of a service and when it was declared."""

    revision: str
    changed: Time


class Revisions(Struct, frozen=True):
    """A page of the revisions of a service that can be rolled back to, newest first. ``cursor`` as in Services."""

    revisions: list[Revision]
    cursor: str


class Rollback(Struct, frozen=True, omit_defaults=True):
    """The revision to roll back to; by default the previous one."""

    revision: Annotated[str | int | None, Meta(description="as answers show it; a number will do")] = None


class Apply(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The services to declare or remove: exactly one of ``fdl``, ``services`` and (with ``state`` absent) ``names``."""

    fdl: Annotated[dict[str, Any] | None, Meta(description="an FDL document in which scripts are given as content")] = (
        None
    )
    services: Annotated[list[dict[str, Any]] | None, Meta(description="service documents")] = None
    names: list[str] | None = None
    state: Literal["present", "absent"] = "present"
    data: Annotated[
        Literal["keep", "delete"], Meta(description="with absent: whether to keep or delete the buckets")
    ] = "keep"
    prune: Annotated[bool, Meta(description="remove all services that are not given")] = False


class LeafChange(Struct, frozen=True):
    """One field that differs; secret values are hidden."""

    path: str
    before: Any
    after: Any


class PlanItem(Struct, frozen=True):
    """The effect of a change on one service."""

    name: str
    action: Annotated[str, Meta(description="create, update, unchanged, delete or absent")]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    changes: list[LeafChange]
    revision: str


class PlanView(Struct, frozen=True):
    """The effect of a change, or of a dry run."""

    changed: bool
    plan: list[PlanItem]
    warnings: list[str]


class Wait(Struct, frozen=True):
    """Why a job is not running yet."""

    code: Annotated[
        str,
        Meta(
            description="service_limit, site_limit, key_turn, backoff, service_not_ready, key_pending, store_away, "
            "no_node, machine_coming, ledger_unavailable or starting"
        ),
    ]
    detail: Annotated[str, Meta(description="the same in words, with the numbers")]


class Job(Struct, frozen=True, kw_only=True):
    """One service that processes one revision of one object."""

    id: str
    service: str
    state: Annotated[str, Meta(description="queued, running, succeeded, failed, superseded, input_gone or cancelled")]
    reason: Annotated[str, Meta(description="why it is in this state, or what it waits for")]
    waiting: Annotated[Wait | None, Meta(description="what a job waits for that does not run yet")]
    provider: str
    bucket: str
    key: Key
    revision: Annotated[str, Meta(description="the store's name for this content of the key")]
    size: int | None
    etag: str
    attempts: Annotated[int, Meta(description="attempts begun so far")]
    created: Time
    finished: Time | None
    depth: Annotated[int, Meta(description="services between the first upload and this object")]
    via: Annotated[str, Meta(description="how the event came: fast, durable, listing, poll, http or replay")]


class AttemptView(Struct, frozen=True, kw_only=True):
    """One attempt of a job. ``limits`` shows how each limit was enforced."""

    number: int
    job: str
    state: str
    exit_code: int | None
    reason: str
    started: Time
    finished: Time | None
    limits: dict[str, str]
    summary: Annotated[str, Meta(description="the first line of the file .summary that the script wrote")]


class Output(Struct, frozen=True, kw_only=True):
    """An object that a job wrote. ``name`` is its key below the folder of the service's output."""

    provider: str
    bucket: str
    key: Key
    name: Key
    size: int | None
    etag: str


class JobDetail(Job, frozen=True, kw_only=True):
    """A job with its attempts, and the outputs of the last one (the first 1,000 objects)."""

    attempt_list: list[AttemptView]
    outputs: list[Output]
    outputs_total: Annotated[int, Meta(description="how many objects the last attempt wrote")]
    summary: Annotated[str, Meta(description="the last attempt's result in one line")]
    origin: Annotated[str | None, Meta(description="the job that wrote this job's input")]


class Outputs(Struct, frozen=True, kw_only=True):
    """A page of what a job wrote. ``cursor`` leads to the next page and is empty on the last."""

    outputs: list[Output]
    total: int
    cursor: str


class Link(Struct, frozen=True, kw_only=True):
    """An object that one job wrote and that another one read."""

    source: str = field(name="from")
    to: str
    provider: str
    bucket: str
    key: Key


class Chain(Struct, frozen=True):
    """The jobs that led to a job, the job itself, those started by its results, and the links between them."""

    jobs: list[Job]
    links: list[Link]
    complete: Annotated[bool, Meta(description="false if the chain was cut off because of its length")]


class Jobs(Struct, frozen=True):
    """A page of jobs, newest first. ``cursor`` leads to the next page and is empty on the last."""

    jobs: list[Job]
    cursor: str


class AnswerView(Struct, frozen=True):
    """Why an object did or did not run, for one service."""

    service: str
    answer: str
    detail: str
    job: str | None


class Why(Struct, frozen=True):
    """What became of an object, newest revision first. ``cursor`` leads to older ones and is empty on the last page."""

    bucket: str
    key: Key
    answers: list[AnswerView]
    cursor: str


class Bucket(Struct, frozen=True):
    """A bucket of the store."""

    name: str


class Buckets(Struct, frozen=True):
    """A page of the buckets of the store, by name. ``cursor`` leads to the next page and is empty on the last."""

    buckets: list[Bucket]
    cursor: str


class Object(Struct, frozen=True):
    """An object of a bucket."""

    key: Key
    size: int | None
    etag: str
    revision: str
    modified: Time


class Objects(Struct, frozen=True):
    """A page of the objects of a bucket; ``truncated`` when more follow, to which ``cursor`` leads."""

    objects: list[Object]
    truncated: bool
    cursor: str


class DeadLetter(Struct, frozen=True):
    """An event that is not valid. ``body`` contains at most its first 4 KiB."""

    id: int
    source: str
    reason: str
    received: Time
    size: int
    body: str


class DeadLetters(Struct, frozen=True):
    """A page of dead letters, newest first."""

    dead_letters: list[DeadLetter]
    cursor: str


class Replayed(Struct, frozen=True):
    """The number of events in a replayed dead letter."""

    events: int


class BacklogRow(Struct, frozen=True):
    """Jobs that would start now if there were capacity, with the same requirements on a node."""

    count: int
    services: Annotated[dict[str, int], Meta(description="how many of each service")]
    requests: Annotated[dict[str, str], Meta(description="what each asks for, as Kubernetes quantities")]
    node_selector: dict[str, str]
    tolerations: Annotated[list[dict[str, str]], Meta(description="as in the specification of a Pod")]


class Waiting(Struct, frozen=True):
    """Queued jobs of a service that wait for the same thing. ``detail`` is that of the newest of them."""

    service: str
    code: str
    count: int
    detail: str


class Backlog(Struct, frozen=True):
    """Jobs that would start now if there were capacity: within all limits, without existing Jobs.

    ``waiting`` lists all queued jobs by what they wait for, with the same texts as the jobs themselves.
    """

    backlog: list[BacklogRow]
    waiting: list[Waiting]


class Part(Struct, frozen=True, omit_defaults=True):
    """Whether one part of the daemon works; ``detail`` is for the administrator."""

    ok: bool
    detail: str = ""


class Readiness(Struct, frozen=True):
    """Whether all parts of the daemon work."""

    ready: bool
    parts: dict[str, Part]
