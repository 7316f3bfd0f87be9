# SPDX-License-Identifier: Apache-2.0
"""An existing OSCAR server with the interface of ``server``.

It has no plan, so the plan is computed here. Files go directly to its store, with the keys that it provides. Its jobs
do not show which file started them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

from oscar_fedcloud.cli.oscar import answers
from oscar_fedcloud.cli.oscar.errors import CommandError, Missing, NotOffered, Unreachable, WrongUse
from oscar_fedcloud.cli.oscar.http import Http, segment
from oscar_fedcloud.cli.oscar.server import Json, Sent, Server

if TYPE_CHECKING:
    from oscar_fedcloud.cli.oscar.s3 import S3Client

SERVICES = "/system/services"
MOST = 10_000_000  # objects
# Maps to which the server adds entries of its own.
SHARED = ("labels", "annotations", "storage_providers", "clusters")
_STATES = {
    "succeeded": "succeeded",
    "failed": "failed",
    "running": "running",
    "pending": "queued",
    "suspended": "queued",
}


def is_oscar(http: Http) -> bool:
    """Return whether an existing OSCAR responds. Raises Denied if it refuses the credentials."""
    try:
        return not answers.problem(http.json("GET", "/system/info"), answers.Info)
    except Missing:
        return False


class LegacyServer(Server):
    """An existing OSCAR server."""

    kind = "OSCAR"
    legacy = True

    def _not_offered(self, what: str) -> NoReturn:
        raise NotOffered(f"{what}: the server at {self.endpoint} is an existing OSCAR, which does not offer that")

    def must_follow(self, wanted: bool) -> None:
        """Raise NotOffered: the jobs of such a server do not show which file started them."""
        if wanted:
            self._not_offered("to wait for the job of a file")

    # services

    def services(self) -> list[Json]:
        """Return all services by name."""
        found = self.http.json("GET", SERVICES, shape=list[answers.Named] | None) or []
        return sorted((_view(each) for each in found), key=lambda each: str(each["name"]))

    def service(self, name: str) -> Json:
        """Return a service. Raises Missing."""
        return _view(self._document(name))

    def _document(self, name: str) -> Json:
        try:
            found: Json = self.http.json("GET", f"{SERVICES}/{segment(name)}", shape=answers.Named)
        except Missing:
            raise Missing(f"service {name} does not exist") from None
        return found

    def apply(self, request: Mapping[str, Any], dry_run: bool) -> Json:
        """Execute what ``POST /v2/services:apply`` would do, and return the same response."""
        if request["state"] == "absent":
            plan = [self._removal(name, str(request["data"])) for name in request["names"]]
        else:
            if request["prune"]:
                self._not_offered("--prune")
            plan = [self._declaration(document) for document in request["services"]]
        documents = {document["name"]: document for document in request.get("services") or ()}
        for item in plan if not dry_run else ():
            self._carry_out(item, documents)
        changed = any(item["action"] not in ("unchanged", "absent") for item in plan)
        return {"changed": changed, "plan": plan, "warnings": []}

    def _carry_out(self, item: Mapping[str, Any], documents: Mapping[str, Json]) -> None:
        if item["action"] == "delete":
            self.http.bytes("DELETE", f"{SERVICES}/{segment(str(item['name']))}")
        elif item["action"] in ("create", "update"):
            method = "POST" if item["action"] == "create" else "PUT"
            self.http.bytes(method, SERVICES, json=documents[item["name"]])

    def _removal(self, name: str, data: str) -> Json:
        try:
            self._document(name)
        except Missing:
            return _item(name, "absent", [])
        if data != "delete":
            raise WrongUse(f"{name}: an existing OSCAR deletes the buckets of a service with it; give --data delete")
        return _item(name, "delete", [])

    def _declaration(self, document: Mapping[str, Any]) -> Json:
        from oscar_fedcloud.fdl import diff_documents

        name = str(document["name"])
        wanted = _normalised(document)
        try:
            current = _normalised(self._document(name))
        except Missing:
            return _item(name, "create", [_leaf(change) for change in diff_documents(None, _hidden(document))])
        shown = {change.path: change for change in diff_documents(_hidden(current), _hidden(document))}
        changes = [change for change in diff_documents(current, wanted) if _counts(change)]
        return _item(name, "update" if changes else "unchanged", [_leaf(shown.get(c.path, c)) for c in changes])

    def revisions(self, name: str) -> list[Json]:
        """Raise NotOffered."""
        self._not_offered("revisions")

    def rollback(self, name: str, revision: int | None) -> Json:
        """Raise NotOffered."""
        self._not_offered("rollback")

    # jobs

    def start(self, service: str, body: Callable[[], BinaryIO]) -> Json:
        """Start a job with any body. Such a server does not return the job."""
        token = self._document(service).get("token") or ""
        with body() as file:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            self.http.bytes("POST", f"/job/{segment(service)}", content=file.read(), headers=headers)
        return {"id": None}

    def jobs(self, limit: int | None = None, **filters: Any) -> Iterator[Json]:
        """Yield the jobs of one service or of all, newest first."""
        for name in ("bucket", "key", "since"):
            if filters.get(name):
                self._not_offered(f"to choose jobs by {name}")
        names = [filters["service"]] if filters.get("service") else [str(each["name"]) for each in self.services()]
        states = [each for each in str(filters.get("state") or "").split(",") if each]
        found = [job for name in names for job in self._jobs_of(name) if not states or job["state"] in states]
        found.sort(key=lambda job: str(job["created"]), reverse=True)
        yield from found[:limit]

    def _jobs_of(self, service: str) -> Iterator[Json]:
        page = ""
        while True:
            where = f"/system/logs/{segment(service)}"
            answer = self.http.json("GET", where, shape=dict[str, Any] | None, query={"page": page}) or {}
            jobs = answer.get("jobs", answer)  # versions before 3.6.3 return only the jobs
            if problem := answers.problem(jobs, dict[str, answers.OscarJob] | None):
                raise Unreachable(f"{self.endpoint} answered GET {where} with something unexpected: {problem}")
            for name, job in (jobs or {}).items():
                yield _job(service, name, job)
            page = str(answer.get("next_page") or "") if "jobs" in answer else ""
            if not page:
                return

    def find_job(self, name: str) -> Json:
        """Return the job of that name, or the newest one of the service of that name. Raises Missing."""
        services = [str(each["name"]) for each in self.services()]
        if name in services:
            for job in self.jobs(limit=1, service=name):
                return job
            raise Missing(f"service {name} has no job")
        for service in sorted(services, key=len, reverse=True):
            if name.startswith(service + "-"):
                for job in self._jobs_of(service):
                    if job["id"] == name:
                        return job
        raise Missing(f"job {name} does not exist")

    def job(self, job_id: str) -> Json:
        """Return a job. Raises Missing."""
        return self.find_job(job_id)

    def outputs(self, job: Mapping[str, Any]) -> list[Json]:
        """Raise NotOffered."""
        self._not_offered("to fetch what a job wrote")

    def log(self, job_id: str, attempt: int | None = None, tail: int | None = None) -> bytes | None:
        """Return the log of a job, or None while there is none."""
        job = self.find_job(job_id)
        try:
            found = self.http.bytes("GET", f"/system/logs/{segment(job['service'])}/{segment(job_id)}")
        except Missing:
            return None
        return found if tail is None else _last_lines(found, tail)

    def log_behind(self, job_id: str, attempt: int, offset: int, tail: int | None = None) -> tuple[bytes, int]:
        """Return the part of a job's log after an offset, and its end. Such a server sends the whole log."""
        whole = self.log(job_id) or b""
        begin = offset if tail is None else len(whole) - len(_last_lines(whole, tail))
        return whole[begin:], max(offset, len(whole))

    def act(self, job_id: str, verb: str) -> Json:
        """Cancel a job by removing it, the only operation of such a server on jobs."""
        if verb != "cancel":
            self._not_offered(verb)
        job = self.find_job(job_id)
        self.http.bytes("DELETE", f"/system/logs/{segment(job['service'])}/{segment(job_id)}")
        return job

    def why(self, bucket: str, key: str, service: str | None) -> Json:
        """Raise NotOffered."""
        self._not_offered("why")

    # buckets

    @cached_property
    def _store(self) -> S3Client:
        from oscar_fedcloud.cli.oscar.s3 import S3Client

        found = self.http.json("GET", "/system/config", shape=answers.Config)
        return S3Client(found.get("minio_provider") or {})

    def _check_provider(self, provider: str | None) -> None:
        if provider not in (None, "", "minio", "minio.default"):
            raise NotOffered(f"provider {provider}: only the site's own store can be reached at an existing OSCAR")

    def buckets(self, provider: str | None = None) -> list[str]:
        """Return the names of all buckets."""
        self._check_provider(provider)
        return self._store.buckets()

    def make_bucket(self, name: str, provider: str | None = None) -> None:
        """Create a bucket unless it exists."""
        self._check_provider(provider)
        self._store.make_bucket(name)

    def delete_bucket(self, name: str, with_data: bool, force: bool, provider: str | None = None) -> None:
        """Delete a bucket, with its objects only if requested."""
        self._check_provider(provider)
        self._store.delete_bucket(name, with_data)

    def objects(self, bucket: str, prefix: str, limit: int, provider: str | None = None) -> tuple[list[Json], bool]:
        """Return objects in the order of their keys, and whether there are more."""
        self._check_provider(provider)
        return self._store.objects(bucket, prefix, limit)

    def all_objects(self, bucket: str, prefix: str, provider: str | None = None) -> Iterator[Json]:
        """Yield all objects in the order of their keys."""
        self._check_provider(provider)
        yield from self._store.objects(bucket, prefix, MOST)[0]

    def put(self, bucket: str, key: str, body: Callable[[], BinaryIO], sent: Sent, provider: str | None = None) -> Json:
        """Store an object and return it."""
        self._check_provider(provider)
        with body() as file:
            count = os.fstat(file.fileno()).st_size
            self._store.put(bucket, key, file, count)
        sent(count)
        return {"key": key, "size": count}

    @contextmanager
    def read(self, bucket: str, key: str, provider: str | None = None) -> Iterator[Iterator[bytes]]:
        """Provide the bytes of an object in chunks. Raises Missing."""
        self._check_provider(provider)
        with self._store.read(bucket, key) as chunks:
            yield chunks

    def remove(self, bucket: str, key: str, provider: str | None = None) -> None:
        """Delete an object."""
        self._check_provider(provider)
        self._store.remove(bucket, key)

    def readiness(self) -> Json:
        """Return the result of the health check."""
        self.http.bytes("GET", "/health")
        return {"ready": True, "parts": {}}


def _last_lines(log: bytes, count: int) -> bytes:
    return b"".join(log.splitlines(keepends=True)[-count:] if count else [])


def _view(document: Json) -> Json:
    """Return a service in the form of ``/v2``. The server does not report whether it is ready."""
    shown = _hidden(document)
    return {"name": document["name"], "revision": "", "status": {"state": "declared", "reason": ""}, "document": shown}


def _normalised(document: Mapping[str, Any], secrets: bool = True) -> Json:
    from oscar_fedcloud.fdl import FdlError, parse_service, to_document

    try:
        return dict(to_document(parse_service(dict(document), strict=False), secrets=secrets))
    except FdlError as error:
        raise CommandError(f"service {document.get('name')}: {error}") from error


def _hidden(document: Mapping[str, Any]) -> Json:
    return _normalised(document, secrets=False)


def _counts(change: Any) -> bool:
    """Return whether the user requested a difference: the server fills in omitted fields and adds to some maps."""
    return not (change.after in (None, "", [], {}) or (change.path.split(".")[0] in SHARED and change.after is None))


def _item(name: str, action: str, changes: list[Json]) -> Json:
    return {"name": name, "action": action, "before": None, "after": None, "changes": changes, "revision": ""}


def _leaf(change: Any) -> Json:
    return {"path": change.path, "before": change.before, "after": change.after}


def _job(service: str, name: str, job: Mapping[str, Any]) -> Json:
    state = str(job.get("status") or "")
    return {
        "id": name,
        "service": service,
        "state": _STATES.get(state.lower(), state.lower()),
        "reason": "",
        "bucket": "",
        "key": "",
        "revision": "",
        "attempts": 1,
        "created": job.get("creation_time") or "",
        "finished": job.get("finish_time") or None,
    }
