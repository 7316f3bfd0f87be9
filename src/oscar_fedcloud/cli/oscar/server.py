# SPDX-License-Identifier: Apache-2.0
"""The server as used by commands: the API under ``/v2``. ``legacy`` has the same interface for an existing OSCAR."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from oscar_fedcloud.cli.oscar import answers
from oscar_fedcloud.cli.oscar.errors import Missing, NotOffered
from oscar_fedcloud.cli.oscar.http import Http, key_path, segment

PAGE = 500  # items in one response
CHUNK = 256 * 1024
ACTIVE = ("queued", "running")
Json = dict[str, Any]
Sent = Callable[[int], None]
_OFFSET = re.compile(r"[0-9]{1,18}")
_JOB_ID = re.compile(r"[0-9a-f]{18}")


class Server:
    """A server with the API under ``/v2``."""

    kind = "OSCAR for FedCloud"
    legacy = False

    def __init__(self, http: Http) -> None:
        self.http = http
        self.endpoint = http.endpoint

    def close(self) -> None:
        """Close all connections."""
        self.http.close()

    def _get(self, path: str, shape: Any, **query: Any) -> Any:
        return self.http.json("GET", path, shape=shape, query=query)

    def _all(self, path: str, items: str, shape: Any, **query: Any) -> Iterator[Json]:
        """Yield all items of a list, page by page."""
        cursor = ""
        while True:
            page = self._get(path, shape, cursor=cursor, **query)
            yield from page[items]
            cursor = page.get("cursor") or ""
            if not cursor:
                return

    def must_follow(self, wanted: bool) -> None:
        """Raise NotOffered if jobs are to be followed and this server does not show which job belongs to which file."""

    # services

    def services(self) -> list[Json]:
        """Return all services by name."""
        return sorted(
            self._all("/v2/services", "services", answers.Services, limit=PAGE), key=lambda each: str(each["name"])
        )

    def service(self, name: str) -> Json:
        """Return a service. Raises Missing."""
        found: Json = self._get(f"/v2/services/{segment(name)}", answers.Service)
        return found

    def apply(self, request: Mapping[str, Any], dry_run: bool) -> Json:
        """Declare or remove services, or only return the plan."""
        query = {"dry_run": "true" if dry_run else "false"}
        answer: Json = self.http.json("POST", "/v2/services:apply", shape=answers.Plan, query=query, json=request)
        return answer

    def revisions(self, name: str) -> list[Json]:
        """Return the revisions of a service, newest first."""
        return list(self._all(f"/v2/services/{segment(name)}/revisions", "revisions", answers.Revisions, limit=PAGE))

    def rollback(self, name: str, revision: int | None) -> Json:
        """Declare an earlier revision again and return the service."""
        body = {} if revision is None else {"revision": revision}
        path = f"/v2/services/{segment(name)}:rollback"
        answer: Json = self.http.json("POST", path, shape=answers.Service, json=body)
        return answer

    # jobs

    def start(self, service: str, body: Callable[[], BinaryIO]) -> Json:
        """Start a job with any body; a repeated request starts no second job."""
        headers = {"Content-Type": "application/octet-stream", "Idempotency-Key": secrets.token_hex(16)}

        def send() -> Json:
            with body() as file:
                sized = headers | {"Content-Length": str(os.fstat(file.fileno()).st_size)}
                path = f"/v2/services/{segment(service)}/jobs"
                answer: Json = self.http.json("POST", path, shape=answers.Job, content=_chunks(file), headers=sized)
                return answer

        return self.http.repeated(send)

    def jobs(self, limit: int | None = None, **filters: Any) -> Iterator[Json]:
        """Yield jobs, newest first, page by page."""
        cursor, left = "", limit
        while left is None or left > 0:
            limit = PAGE if left is None else min(left, PAGE)
            page = self._get("/v2/jobs", answers.Jobs, cursor=cursor, limit=limit, **filters)
            yield from page["jobs"]
            left = None if left is None else left - len(page["jobs"])
            cursor = page["cursor"]
            if not cursor:
                return

    def job(self, job_id: str) -> Json:
        """Return a job with its attempts. Raises Missing."""
        found: Json = self._get(f"/v2/jobs/{segment(job_id)}", answers.JobDetail)
        return found

    def find_job(self, name: str) -> Json:
        """Return the job of that id, or the newest one of the service of that name. Raises Missing."""
        if _JOB_ID.fullmatch(name):
            return self.job(name)
        for job in self.jobs(limit=1, service=name):
            return self.job(str(job["id"]))
        self.service(name)
        raise Missing(f"service {name} has no job")

    def outputs(self, job: Mapping[str, Any]) -> list[Json]:
        """Return all that the last attempt of a job wrote. Raises NotOffered if the server does not record it."""
        if "outputs" not in job:
            raise NotOffered(f"the server at {self.endpoint} does not record what a job writes; update it")
        found: list[Json] = list(job["outputs"])
        if len(found) >= int(job.get("outputs_total") or 0):
            return found
        return list(self._all(f"/v2/jobs/{segment(str(job['id']))}/outputs", "outputs", answers.Outputs))

    def log(self, job_id: str, attempt: int | None = None, tail: int | None = None) -> bytes | None:
        """Return the log of an attempt, or None while there is none. Raises Missing for an unknown job."""
        found = self._log(job_id, attempt=attempt, tail=tail)
        return found and found[0]

    def log_behind(self, job_id: str, attempt: int, offset: int, tail: int | None = None) -> tuple[bytes, int]:
        """Return the part of an attempt's log after an offset, and the offset at which it continues.

        Args:
            tail: only this number of lines at the end, whatever the offset.
        """
        where = {"offset": offset} if tail is None else {"tail": tail}
        body, headers = self._log(job_id, attempt=attempt, **where) or (b"", {})
        end = headers.get("Log-Offset", "")
        return body, int(end) if _OFFSET.fullmatch(end) else offset + len(body)

    def _log(self, job_id: str, **query: int | None) -> tuple[bytes, Mapping[str, str]] | None:
        try:
            return self.http.answer("GET", f"/v2/jobs/{segment(job_id)}/log", query=query)
        except Missing:
            self.job(job_id)
            return None

    def act(self, job_id: str, verb: str) -> Json:
        """Cancel, retry or replay a job and return it."""
        answer: Json = self.http.json("POST", f"/v2/jobs/{segment(job_id)}:{verb}", shape=answers.Job)
        return answer

    def why(self, bucket: str, key: str, service: str | None) -> Json:
        """Return what became of an object."""
        found: Json = self._get("/v2/why", answers.Why, bucket=bucket, key=key, service=service)
        return found

    # buckets

    def buckets(self, provider: str | None = None) -> list[str]:
        """Return the names of all buckets."""
        found = self._all("/v2/buckets", "buckets", answers.Buckets, limit=PAGE, provider=provider)
        return sorted(str(each["name"]) for each in found)

    def make_bucket(self, name: str, provider: str | None = None) -> None:
        """Create a bucket unless it exists."""
        self.http.json("PUT", f"/v2/buckets/{segment(name)}", query={"provider": provider})

    def delete_bucket(self, name: str, with_data: bool, force: bool, provider: str | None = None) -> None:
        """Delete a bucket, with its objects only if requested; with ``force`` even if services use it."""
        query = {
            "provider": provider,
            "data": "delete" if with_data else "keep",
            "force": "true" if force else "",
        }
        self.http.json("DELETE", f"/v2/buckets/{segment(name)}", query=query)

    def objects(self, bucket: str, prefix: str, limit: int, provider: str | None = None) -> tuple[list[Json], bool]:
        """Return objects in the order of their keys, and whether there are more."""
        query = {"prefix": prefix, "limit": limit, "provider": provider}
        page = self._get(f"/v2/buckets/{segment(bucket)}/objects", answers.Objects, **query)
        return page["objects"], bool(page["truncated"])

    def all_objects(self, bucket: str, prefix: str, provider: str | None = None) -> Iterator[Json]:
        """Yield all objects in the order of their keys, page by page."""
        yield from self._all(
            f"/v2/buckets/{segment(bucket)}/objects", "objects", answers.Objects, prefix=prefix, provider=provider
        )

    def put(self, bucket: str, key: str, body: Callable[[], BinaryIO], sent: Sent, provider: str | None = None) -> Json:
        """Store an object and return it. ``sent`` is called with the bytes of each chunk."""

        def send() -> Json:
            with body() as file:
                headers = {
                    "Content-Type": "application/octet-stream",
                    "Content-Length": str(os.fstat(file.fileno()).st_size),
                }
                where, content = self._object(bucket, key), _chunks(file, sent)
                query = {"provider": provider}
                answer: Json = self.http.json(
                    "PUT", where, shape=answers.Stored, query=query, content=content, headers=headers
                )
                return answer

        return self.http.repeated(send)

    @contextmanager
    def read(self, bucket: str, key: str, provider: str | None = None) -> Iterator[Iterator[bytes]]:
        """Provide the bytes of an object in chunks. Raises Missing."""
        with self.http.stream("GET", self._object(bucket, key), query={"provider": provider}) as answer:
            yield answer.iter_bytes(CHUNK)

    def remove(self, bucket: str, key: str, provider: str | None = None) -> None:
        """Delete an object. Raises Missing."""
        self.http.json("DELETE", self._object(bucket, key), query={"provider": provider})

    def _object(self, bucket: str, key: str) -> str:
        return f"/v2/buckets/{segment(bucket)}/objects/{key_path(key)}"

    # the server itself

    def info(self) -> Json:
        """Return the versions at the endpoint."""
        found: Json = self._get("/system/info", dict[str, Any])
        return found

    def readiness(self) -> Json:
        """Return which parts of the server work."""
        found: Json = self.http.json("GET", "/readyz", shape=answers.Readiness, allow=(503,))
        return found


def _chunks(file: BinaryIO, sent: Sent = lambda count: None) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
        sent(len(chunk))
