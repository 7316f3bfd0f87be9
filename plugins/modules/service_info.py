#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: service_info
short_description: Read declared OSCAR services
version_added: "2.0.0"
author:
  - The OSCAR for FedCloud developers (@fedcloud)
description:
  - Reads services with their normalised definition, their state and the number of their jobs.
extends_documentation_fragment:
  - fedcloud.oscar._connection
  - fedcloud.oscar._attributes
  - fedcloud.oscar._attributes.actiongroup_oscar
  - fedcloud.oscar._attributes.info_module
options:
  names:
    description:
      - The services to read. All services are read if it is not given.
      - A service that does not exist is left out of the result.
    type: list
    elements: str
    aliases: [name]
seealso:
  - module: fedcloud.oscar.service
  - module: fedcloud.oscar.job_info
"""

EXAMPLES = r"""
- name: Read one service
  fedcloud.oscar.service_info:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    name: grayify
  register: result

- name: Show how many of its jobs failed
  ansible.builtin.debug:
    msg: "{{ result.services[0].counts.failed | default(0) }}"

- name: Read all services
  fedcloud.oscar.service_info:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
"""

RETURN = r"""
services:
  description: The services, by name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the service.
      type: str
    revision:
      description: Counts the changes of the service's definition.
      type: str
    status:
      description:
        - C(state) is V(ready) when uploads start jobs, V(pending) while buckets, rules and keys are made, and
          V(error) otherwise.
        - C(reason) says why it is not ready.
      type: dict
    document:
      description: The normalised definition with all defaults. Secrets are hidden.
      type: dict
    counts:
      description: Number of jobs by state.
      type: dict
  sample:
    - name: grayify
      revision: "1"
      status:
        state: ready
        reason: ""
      document:
        name: grayify
        memory: 256Mi
      counts:
        succeeded: 12
"""

from ..module_utils._api.argspec import oscar_module, run
from ..module_utils._api.views import views


def read(module, client):
    found = views(client, module.params["names"] or ())
    return {"changed": False, "services": [found[name] for name in sorted(found)]}


def main():
    run(oscar_module({"names": {"type": "list", "elements": "str", "aliases": ["name"]}}), read)


if __name__ == "__main__":
    main()
