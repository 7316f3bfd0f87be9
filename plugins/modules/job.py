#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: job
short_description: Cancel, retry or replay an OSCAR job
version_added: "2.0.0"
author:
  - The OSCAR for FedCloud developers (@fedcloud)
description:
  - Ends a job, or queues one again that has ended.
extends_documentation_fragment:
  - fedcloud.oscar._connection
  - fedcloud.oscar._attributes
  - fedcloud.oscar._attributes.actiongroup_oscar
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: partial
    details:
      - With O(action=cancel) and O(action=retry) the same task changes nothing while the job is as it left it.
      - With O(action=replay) a job that has ended is run again by each task.
options:
  id:
    description: Identifier of the job.
    type: str
    required: true
  action:
    description:
      - V(cancel) ends a job that is queued or running, and waits until it has ended. A job that has ended by
        itself is left as it is, which is reported in RV(reason).
      - V(retry) queues a job again that did not succeed (failed, cancelled, superseded or input_gone), with its
        count of failures reset. A job that is queued, running or has succeeded is left as it is, which is reported in
        RV(reason).
      - V(replay) queues a job again that has ended in any way, also one that has succeeded. A job that is queued or
        running is left as it is, which is reported in RV(reason).
      - Either this or O(state) is needed.
    type: str
    choices: [cancel, retry, replay]
  state:
    description:
      - The same by other names, as before O(action) was there. V(cancelled) is O(action=cancel), V(retried) is
        O(action=retry), V(replayed) is O(action=replay).
    type: str
    choices: [cancelled, retried, replayed]
  wait_timeout:
    description: How long to wait, in seconds, for a cancelled job to end.
    type: int
    default: 60
seealso:
  - module: fedcloud.oscar.job_info
"""

EXAMPLES = r"""
- name: Cancel a job
  fedcloud.oscar.job:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    id: nbswy3dpeb3w64tm
    action: cancel

- name: Find the jobs of a service that failed
  fedcloud.oscar.job_info:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    service: grayify
    state: failed
  register: failed

- name: Run them again
  fedcloud.oscar.job:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    id: "{{ item.id }}"
    action: retry
  loop: "{{ failed.jobs }}"
  loop_control:
    label: "{{ item.key }}"
"""

RETURN = r"""
job:
  description: The job after the task, as RV(fedcloud.oscar.job_info#module:jobs) describes it. In check mode, as it
    is now.
  returned: success
  type: dict
reason:
  description: Why nothing was done although the job is not in the state that was asked for. Empty otherwise.
  returned: success
  type: str
  sample: a job that is succeeded cannot be cancelled
"""

from ..module_utils._api.argspec import oscar_module, run
from ..module_utils._jobs.jobs import ACTIONS, change_job


def change(module, client):
    params = module.params
    wanted = params["state"] or ACTIONS[params["action"]]
    return change_job(client, params["id"], wanted, module.check_mode, params["wait_timeout"])


def main():
    module = oscar_module(
        {
            "id": {"type": "str", "required": True},
            "action": {"type": "str", "choices": ["cancel", "retry", "replay"]},
            "state": {"type": "str", "choices": ["cancelled", "retried", "replayed"]},
            "wait_timeout": {"type": "int", "default": 60},
        },
        required_one_of=[("action", "state")],
        mutually_exclusive=[("action", "state")],
    )
    run(module, change)


if __name__ == "__main__":
    main()
