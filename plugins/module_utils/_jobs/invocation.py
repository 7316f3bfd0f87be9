# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: one file or body through a service, and its results back."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO

from ansible.module_utils.basic import AnsibleModule

from .._api.client import Client, OscarError, Unreachable, object_path, path
from .._api.wait import assume_new, poll
from .._fdl import Service, from_document
from .jobs import log_of, wait_ended
from .outputs import fetch, outputs_of

LOG_LINES = 20  # of the log in the message of a failed job
RECENT = 1000  # jobs of a key among which the one of an upload is looked for
REFUSED = ("filtered", "too_deep", "bad_key", "no_service")  # answers of "why" after which no job will come


def invoke(module: AnsibleModule, client: Client) -> dict[str, Any]:
    """Do what the task says; what the module returns. Raises OscarError, also when the job failed."""
    params = module.params
    try:
        service = from_document(client.get(path("v2", "services", params["service"]))["document"])
    except Unreachable as error:
        assume_new(module, error, "the service is not checked")
        return {"changed": True}
    place = _place(params, service) if params["mode"] == "upload" else None
    if module.check_mode:
        return {"changed": True, "object": place}
    with _content(params) as (file, size):
        done = _upload(client, params, place, file, size) if place else _post(client, params, file, size)
    try:
        return {**done, **_followed(module, client, service, done)}
    except OscarError as error:  # what has been sent stays sent, whatever became of it
        error.details = {**done, **error.details}
        raise


def _followed(module: AnsibleModule, client: Client, service: Service, done: Mapping[str, Any]) -> dict[str, Any]:
    """What follows from what was sent: its job, waited for and with its results if the task asks for that."""
    params = module.params
    if not params["wait"]:
        return {}
    job = done["job"] or _job_of(client, params, done["object"])
    return _finished(module, client, service, wait_ended(client, job["id"], params["wait_timeout"]))


@contextmanager
def _content(params: Mapping[str, Any]) -> Iterator[tuple[BinaryIO, int]]:
    """What is sent, as an open file with its size in bytes; files are never read into memory."""
    if params["src"] is not None:
        try:
            file = open(params["src"], "rb")  # noqa: SIM115 (closed below; only errors of opening it are meant here)
        except OSError as error:
            raise OscarError(f"src {params['src']} cannot be read: {error.strerror}") from error
        with file:
            yield file, os.fstat(file.fileno()).st_size
        return
    text = json.dumps(params["body_json"]) if params["body"] is None else params["body"]
    content = text.encode("utf-8")
    yield io.BytesIO(content), len(content)


def _place(params: Mapping[str, Any], service: Service) -> dict[str, str]:
    """Bucket and key of an upload. The key must lie below an input of the service, or nothing would run."""
    if not service.input:
        raise OscarError(f"service {service.name} has no input; use mode direct")
    inputs = [source for source in service.input if params["bucket"] in (None, source.bucket)]
    if not inputs:
        places = ", ".join(source.path for source in service.input)
        raise OscarError(f"service {service.name} has no input in bucket {params['bucket']}; its inputs: {places}")
    key = params["key"]
    if key is None:
        if params["src"] is None:
            raise OscarError("key is missing: the name of the object to upload cannot be taken from a body")
        return {"bucket": inputs[0].bucket, "key": inputs[0].key_prefix + os.path.basename(params["src"])}
    for source in inputs:
        if key.startswith(source.key_prefix):
            return {"bucket": source.bucket, "key": key}
    prefixes = ", ".join(source.key_prefix for source in inputs)
    raise OscarError(f"key {key} would not start service {service.name}; keys of its inputs start with {prefixes}")


def _headers(size: int) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream", "Content-Length": str(size)}


def _post(client: Client, params: Mapping[str, Any], file: BinaryIO, size: int) -> dict[str, Any]:
    """Mode direct: the body starts one job, or is answered by the job that the same idempotency key has started."""
    # Without a key of the user's, one of ours keeps a repeated request from starting a second job.
    headers = {**_headers(size), "Idempotency-Key": params["idempotency_key"] or str(uuid.uuid4())}
    where = path("v2", "services", params["service"], "jobs")
    job, answered = client.exchange("POST", where, file, headers=headers)
    return {"changed": answered.get("Idempotency-Replayed") != "true", "object": None, "job": job}


def _upload(
    client: Client, params: Mapping[str, Any], place: Mapping[str, str], file: BinaryIO, size: int
) -> dict[str, Any]:
    """Mode upload: store the object, whose event starts the job."""
    stored = client.send("PUT", object_path(place["bucket"], place["key"]), file, headers=_headers(size))
    return {"changed": True, "object": {**place, "revision": stored["revision"]}, "job": None}


def _job_of(client: Client, params: Mapping[str, Any], place: Mapping[str, str]) -> Any:
    """The job that the event of this revision of the object started. Raises OscarError when none comes."""
    query = {"service": params["service"], "bucket": place["bucket"], "key": place["key"]}

    def probe() -> Any:
        for job in client.get("/v2/jobs", limit=RECENT, **query)["jobs"]:
            if job["revision"] == place["revision"]:
                return job
        _check_refused(client, query)
        return None

    where = f"{place['bucket']}/{place['key']}"
    return poll(probe, params["wait_timeout"], lambda: f"no job of service {params['service']} came for {where}")


def _check_refused(client: Client, query: Mapping[str, str]) -> None:
    """Raise when the server knows that the object starts no job."""
    for answer in client.get("/v2/why", **query)["answers"]:
        if answer["answer"] in REFUSED:
            raise OscarError(f"{query['bucket']}/{query['key']} starts no job: {answer['detail'] or answer['answer']}")


def _finished(module: AnsibleModule, client: Client, service: Service, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a job that ended. Raises OscarError unless it succeeded."""
    attempts = job["attempt_list"]
    exit_code = attempts[-1]["exit_code"] if attempts else None
    if job["state"] != "succeeded":
        log = log_of(client, job["id"], LOG_LINES) or ""
        ended = f"job {job['id']} of service {service.name} ended {job['state']}"
        message = f"{ended}: {job['reason'] or 'no reason is known'}" + (f"\nIts log ends:\n{log}" if log else "")
        raise OscarError(message, job=job, exit_code=exit_code, log=log)
    outputs = outputs_of(module, client, job["id"])
    if module.params["dest"]:
        fetch(module, client, outputs, module.params["dest"])
    return {"job": job, "exit_code": exit_code, "outputs": outputs}
