#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: job_info
short_description: Read OSCAR jobs, their logs, and why a file did not run
version_added: "2.0.0"
author:
  - The OSCAR for FedCloud developers (@fedcloud)
description:
  - Lists jobs, newest first, or reads one job with its attempts.
  - Tells what became of an uploaded file, also when it started no job.
extends_documentation_fragment:
  - fedcloud.oscar._connection
  - fedcloud.oscar._attributes
  - fedcloud.oscar._attributes.actiongroup_oscar
  - fedcloud.oscar._attributes.info_module
options:
  id:
    description: Identifier of one job, which is read with its attempts. It must exist.
    type: str
  service:
    description: Only jobs of this service.
    type: str
  state:
    description: Only jobs in one of these states.
    type: list
    elements: str
    choices: [queued, running, succeeded, failed, superseded, input_gone, cancelled]
  bucket:
    description: Only jobs for objects of this bucket.
    type: str
  key:
    description: Only jobs for objects with this key. Needs O(bucket).
    type: str
  since:
    description: Only jobs created at this time or later, as RFC 3339 in UTC, for example V(2026-11-24T10:00:00Z).
    type: str
  limit:
    description: Largest number of jobs to list.
    type: int
    default: 100
  log:
    description: Whether to read the log of the latest attempt of each job too.
    type: bool
    default: false
  tail:
    description: Number of last lines to read of each log. The whole log is read if it is not given.
    type: int
  why:
    description: An object about which to ask what became of it. The jobs are not listed then.
    type: dict
    suboptions:
      bucket:
        description: Bucket of the object.
        type: str
        required: true
      key:
        description: Key of the object.
        type: str
        required: true
      service:
        description: Ask about this service only.
        type: str
seealso:
  - module: fedcloud.oscar.job
  - module: fedcloud.oscar.invocation
"""

EXAMPLES = r"""
- name: List the last ten jobs of a service that failed
  fedcloud.oscar.job_info:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    service: grayify
    state: failed
    limit: 10

- name: Read a job with the last 50 lines of its log
  fedcloud.oscar.job_info:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    id: nbswy3dpeb3w64tm
    log: true
    tail: 50

- name: Ask why a file did not run
  fedcloud.oscar.job_info:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    why:
      bucket: grayify
      key: in/rowers.txt
"""

RETURN = r"""
jobs:
  description: The jobs, newest first.
  returned: success, without O(why)
  type: list
  elements: dict
  contains:
    id:
      description: Identifier of the job.
      type: str
    service:
      description: The service that processes the object.
      type: str
    state:
      description: One of V(queued), V(running), V(succeeded), V(failed), V(superseded), V(input_gone), V(cancelled).
      type: str
    reason:
      description: Why it is in this state, or what it waits for.
      type: str
    waiting:
      description: What a job waits for that does not run yet, as C(code) and C(detail). V(null) otherwise.
      type: dict
    provider:
      description: The store of the object, for example V(minio.default).
      type: str
    bucket:
      description: Bucket of the object.
      type: str
    key:
      description: Key of the object.
      type: str
    revision:
      description: The store's name for this content of the object.
      type: str
    size:
      description: Size of the object in bytes.
      type: int
    etag:
      description: ETag of the object.
      type: str
    attempts:
      description: Number of attempts that were started.
      type: int
    created:
      description: When the event was recorded.
      type: str
    finished:
      description: When the job ended, V(null) before.
      type: str
    depth:
      description: Number of services between the first upload and this object.
      type: int
    via:
      description: How the event came, one of V(fast), V(durable), V(listing), V(poll), V(http), V(replay).
      type: str
    attempt_list:
      description: The attempts, each with its state, exit code, reason, times, and how its limits were enforced. Only
        with O(id).
      type: list
      elements: dict
    outputs:
      description: What the last attempt wrote, each with C(provider), C(bucket), C(key), C(name) below the output's
        folder, C(size) and C(etag). Only with O(id).
      type: list
      elements: dict
    outputs_total:
      description: How many objects the last attempt wrote. Only with O(id).
      type: int
    summary:
      description: The result of the last attempt in one line, which its script wrote to C($TMP_OUTPUT_DIR/.summary).
        Only with O(id).
      type: str
    origin:
      description: Identifier of the job that wrote the input, V(null) when it was uploaded. Only with O(id).
      type: str
    log:
      description: Log of the latest attempt, V(null) when there is none. Only with O(log=true).
      type: str
why:
  description: What became of the object O(why).
  returned: success and O(why)
  type: dict
  contains:
    bucket:
      description: Bucket of the object.
      type: str
    key:
      description: Key of the object.
      type: str
    answers:
      description: For each service its C(answer) (for example V(ran) or V(filtered)), C(detail) and C(job).
      type: list
      elements: dict
  sample:
    bucket: grayify
    key: in/rowers.txt
    answers:
      - service: grayify
        answer: filtered
        detail: the key ends in none of .jpg, .png
        job: null
"""

from ..module_utils._api.argspec import oscar_module, run
from ..module_utils._jobs.jobs import explain, get_job, list_jobs, log_of
from ..module_utils._jobs.outputs import outputs_of

FILTERS = ("service", "state", "bucket", "key", "since")


def read(module, client):
    params = module.params
    if params["why"]:
        return {"changed": False, "why": explain(client, params["why"])}
    if params["id"]:
        job = get_job(client, params["id"])
        jobs = [{**job, "outputs": outputs_of(module, client, job["id"])}]
    else:
        filters = {name: params[name] for name in FILTERS}
        filters["state"] = ",".join(params["state"] or ()) or None
        jobs = list_jobs(client, params["limit"], **filters)
    if params["log"]:
        jobs = [{**job, "log": log_of(client, job["id"], params["tail"])} for job in jobs]
    return {"changed": False, "jobs": jobs}


def main():
    why = {
        "bucket": {"type": "str", "required": True},
        "key": {"type": "str", "required": True, "no_log": False},
        "service": {"type": "str"},
    }
    states = ["queued", "running", "succeeded", "failed", "superseded", "input_gone", "cancelled"]
    module = oscar_module(
        {
            "id": {"type": "str"},
            "service": {"type": "str"},
            "state": {"type": "list", "elements": "str", "choices": states},
            "bucket": {"type": "str"},
            "key": {"type": "str", "no_log": False},
            "since": {"type": "str"},
            "limit": {"type": "int", "default": 100},
            "log": {"type": "bool", "default": False},
            "tail": {"type": "int"},
            "why": {"type": "dict", "options": why},
        },
        mutually_exclusive=[("id", "why"), *((first, name) for first in ("id", "why") for name in FILTERS)],
        required_by={"key": ["bucket"]},
    )
    run(module, read)


if __name__ == "__main__":
    main()
