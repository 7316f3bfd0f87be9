# SPDX-License-Identifier: Apache-2.0
"""The fields of responses that commands use. A server may return more."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

import msgspec


class Named(TypedDict):
    """Something with a name."""

    name: str


class Status(TypedDict):
    """Whether a service is ready."""

    state: str
    reason: str


class Place(TypedDict):
    """An input of a service."""

    path: str


class Document(TypedDict):
    """The document of a service."""

    input: NotRequired[list[Place] | None]


class Service(TypedDict):
    """A service."""

    name: str
    document: Document
    status: NotRequired[Status | None]
    counts: NotRequired[dict[str, int] | None]


class Services(TypedDict):
    """A page of services."""

    services: list[Service]
    cursor: NotRequired[str | None]


class Change(TypedDict):
    """One field that a plan changes."""

    path: str
    before: Any
    after: Any


class PlanItem(TypedDict):
    """The effect of a plan on one service."""

    name: str
    action: str
    changes: list[Change]


class Plan(TypedDict):
    """The changes of a request."""

    changed: bool
    plan: list[PlanItem]
    warnings: list[str]


class Revision(TypedDict):
    """An earlier document of a service."""

    revision: str | int
    changed: str


class Revisions(TypedDict):
    """A page of the revisions of a service."""

    revisions: list[Revision]
    cursor: NotRequired[str | None]


class Wait(TypedDict):
    """The wait reason of a job."""

    detail: str


class Job(TypedDict):
    """A job."""

    id: str
    service: str
    state: str
    reason: str
    bucket: str
    key: str
    revision: str
    attempts: int
    created: str
    finished: str | None
    waiting: NotRequired[Wait | None]


class Jobs(TypedDict):
    """A page of jobs."""

    jobs: list[Job]
    cursor: str


class Attempt(TypedDict):
    """An attempt of a job."""

    number: int
    state: str
    exit_code: int | None
    reason: str
    started: str
    finished: str | None


class Output(TypedDict):
    """An object that a job wrote."""

    bucket: str
    key: str
    size: int | None


class Outputs(TypedDict):
    """A page of what a job wrote."""

    outputs: list[Output]
    cursor: NotRequired[str | None]


class JobDetail(Job):
    """A job with its attempts, and what it wrote."""

    attempt_list: NotRequired[list[Attempt] | None]
    outputs: NotRequired[list[Output]]
    outputs_total: NotRequired[int | None]


class Answer(TypedDict):
    """The explanation for one service."""

    service: str
    answer: str
    detail: str
    job: str | None


class Why(TypedDict):
    """The explanations for an object."""

    answers: list[Answer]


class Buckets(TypedDict):
    """A page of buckets."""

    buckets: list[Named]
    cursor: NotRequired[str | None]


class Object(TypedDict):
    """An object of a bucket."""

    key: str
    size: int | None
    etag: str
    modified: str


class Objects(TypedDict):
    """A page of objects."""

    objects: list[Object]
    truncated: bool
    cursor: NotRequired[str | None]


class Stored(TypedDict):
    """An object that was stored."""

    revision: str


class Part(TypedDict):
    """Whether one part of the server works."""

    ok: bool


class Readiness(TypedDict):
    """Which parts of the server work."""

    parts: NotRequired[dict[str, Part] | None]


class FieldProblem(TypedDict):
    """One problem of a document."""

    path: str
    message: str
    hint: NotRequired[str]


class Info(TypedDict):
    """The system information of an existing OSCAR."""

    version: str


class Config(TypedDict):
    """The configuration shown by an existing OSCAR."""

    minio_provider: NotRequired[dict[str, Any] | None]


class OscarJob(TypedDict):
    """A job as an existing OSCAR shows it."""

    status: NotRequired[str]
    creation_time: NotRequired[str | None]
    finish_time: NotRequired[str | None]


def problem(answer: Any, shape: Any) -> str:
    """Return which part of a shape is missing in a response, or ""."""
    try:
        msgspec.convert(answer, shape)
    except msgspec.ValidationError as error:
        return str(error)
    return ""
