#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: invocation
short_description: Run a file or a body through an OSCAR service
version_added: "2.0.0"
author:
  - The OSCAR for FedCloud developers (@fedcloud)
description:
  - Uploads a file to the input of a service, or posts a body to it. Each starts a job.
  - Waits for the job if asked to, and fetches its results.
extends_documentation_fragment:
  - fedcloud.oscar._connection
  - fedcloud.oscar._attributes
  - fedcloud.oscar._attributes.actiongroup_oscar
attributes:
  check_mode:
    support: full
    details:
      - Checks that the service exists and that the object would start it, and sends nothing.
      - Where no server answers, the task fails, unless O(new_server=true).
  diff_mode:
    support: none
  idempotent:
    support: none
    details:
      - Every invocation is a new job, except that with O(mode=direct) the same O(idempotency_key) is the same job.
        Then nothing is changed the second time.
options:
  service:
    description: Name of the service.
    type: str
    required: true
  mode:
    description:
      - V(upload) stores an object in an input of the service. Its event starts the job, as for every user.
      - V(direct) posts the content to the service. No object is stored in its inputs, and it needs none.
    type: str
    choices: [upload, direct]
    default: upload
  src:
    description: Path on the target of the file to send. Its size is not limited by memory.
    type: path
  body:
    description: The content to send, as text.
    type: str
  body_json:
    description: The content to send, as data that is sent as JSON.
    type: raw
  bucket:
    description:
      - Bucket of the object with O(mode=upload). It must be one of the service's inputs.
      - If not given, the first input of the service is used.
    type: str
  key:
    description:
      - Key of the object with O(mode=upload). It must lie below an input of the service.
      - If not given, it is the name of O(src) below the input's folder.
    type: str
  idempotency_key:
    description:
      - A word that makes this invocation unique, with O(mode=direct). Sent again, it gives the job that it started
        before.
    type: str
  wait:
    description:
      - Whether to wait until the job has ended. The module fails when the job did not succeed, or has not ended in
        time. What was sent is reported as changed then too.
      - Without it, the job of an upload is not known yet when the module ends.
    type: bool
    default: true
  wait_timeout:
    description: How long to wait, in seconds, for the job to come and then for it to end.
    type: int
    default: 300
  dest:
    description:
      - Folder on the target into which the results are fetched, with the sub-folders that they have below the
        service's output.
      - It is created if it does not exist. Needs O(wait=true).
      - Exactly what this job wrote is fetched. A result in a store from which the server cannot read is left out, with
        a warning.
    type: path
seealso:
  - module: fedcloud.oscar.service
  - module: fedcloud.oscar.job_info
"""

EXAMPLES = r"""
- name: Turn a photograph grey and fetch the result
  fedcloud.oscar.invocation:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    service: grayify
    src: /srv/photos/rowers.jpg
    dest: /srv/photos/grey
  register: result

- name: Show where the results are
  ansible.builtin.debug:
    msg: "{{ result.outputs | map(attribute='path') }}"

- name: Post data to a service without waiting
  fedcloud.oscar.invocation:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    service: cowsay
    mode: direct
    body_json:
      message: Hello
    wait: false
  register: result

- name: Wait for it with progress in the output of Ansible
  fedcloud.oscar.job_info:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    id: "{{ result.job.id }}"
  register: job
  until: job.jobs[0].state not in ['queued', 'running']
  retries: 60
  delay: 5
"""

RETURN = r"""
object:
  description: Where the object was stored, as C(bucket), C(key) and C(revision).
  returned: O(mode=upload)
  type: dict
  sample:
    bucket: grayify
    key: in/rowers.jpg
    revision: 19a2f3c5d10-5d41402abc4b2a76b9719d911017c592
job:
  description:
    - The job, as RV(fedcloud.oscar.job_info#module:jobs) describes it, with its attempts if it was waited for.
    - V(null) for an upload whose job is not known yet.
    - When the wait was too short, the job as it was seen last.
  returned: when something was sent
  type: dict
exit_code:
  description: Exit code of the script in the last attempt, V(null) when it never ended by itself.
  returned: when the job has ended
  type: int
outputs:
  description: What the job wrote, each with C(provider), C(bucket), C(key), C(name) below the output's folder, C(size),
    C(etag) and, with O(dest), C(path).
  returned: success and O(wait=true)
  type: list
  elements: dict
  sample:
    - provider: minio.default
      bucket: grayify
      key: out/rowers.jpg
      name: rowers.jpg
      size: 48211
      etag: 9e107d9d372bb6826bd81d3542a419d6
      path: /srv/photos/grey/rowers.jpg
log:
  description: The last lines of the job's log.
  returned: when the job failed
  type: str
"""

from ..module_utils._api.argspec import oscar_module, run
from ..module_utils._jobs.invocation import invoke


def main():
    module = oscar_module(
        {
            "service": {"type": "str", "required": True},
            "mode": {"type": "str", "choices": ["upload", "direct"], "default": "upload"},
            "src": {"type": "path"},
            "body": {"type": "str"},
            "body_json": {"type": "raw"},
            "bucket": {"type": "str"},
            "key": {"type": "str", "no_log": False},
            "idempotency_key": {"type": "str", "no_log": False},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 300},
            "dest": {"type": "path"},
        },
        required_one_of=[("src", "body", "body_json")],
        mutually_exclusive=[("src", "body", "body_json")],
    )
    run(module, invoke)


if __name__ == "__main__":
    main()
