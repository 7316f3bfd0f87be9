#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: service
short_description: Declare OSCAR services
version_added: "2.0.0"
author:
  - The OSCAR for FedCloud developers (@fedcloud)
description:
  - Makes services be as an FDL file or a definition says, or makes them absent.
  - All services of a task go to the server in one request. The server plans the change, for check mode as for the
    real run, and carries out all of it or nothing.
  - FDL files and scripts are read on the controller, the request is sent from the target. The target needs neither
    PyYAML nor the files.
  - Errors of the FDL are found on the controller before anything is sent, all of them at once.
extends_documentation_fragment:
  - fedcloud.oscar._connection
  - fedcloud.oscar._attributes
  - fedcloud.oscar._attributes.actiongroup_oscar
attributes:
  check_mode:
    support: full
    details:
      - The plan is made by the server. Where no server answers, the task fails, unless O(new_server=true). Then all
        services are reported as to be created, with a warning.
  diff_mode:
    support: full
    details:
      - Shows the fields that change and no others. Of a service that is created, these are the fields that the task
        sets; of one that is removed, those that differ from their defaults. Memory and CPU are always among them.
      - Secrets are shown as V(hidden), and as V(hidden (changed\)) when they change.
  idempotent:
    support: partial
    details:
      - At an existing OSCAR server, which does not tell the secrets that it holds, a service with secrets is always
        sent again and reported as changed.
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: full
options:
  fdl:
    description:
      - Path of an FDL file (YAML or JSON) on the controller, with any number of services, or of a folder. Of a folder
        all files named C(fdl.yml) or C(NAME.fdl.yml) are read, at any depth, also with the endings C(yaml) and C(json).
      - Relative paths are searched
        as those of M(ansible.builtin.copy) are, so in C(files/) of the role or playbook and beside the playbook.
      - C(script) of a service is a path relative to the FDL file, or absolute. Text with a line break is the script
        itself. A script must lie in the folder of its FDL file, after all links are followed, or in one of
        O(script_folders).
      - Scalars without quotes are text as written wherever the language expects text, for example C(1.10), C(0755) or
        C(yes) in C(environment.variables). Other fields are read by the core schema of YAML 1.2, in which C(true) and
        C(false) are the only booleans. A name that is given twice is an error.
      - Files that are encrypted as a whole by C(ansible-vault) are decrypted, and so are single values (C(!vault)).
    type: path
  script_folders:
    description:
      - Folders on the controller, besides that of an FDL file, from which the C(script) of its services may be read.
        Without them an FDL file of somebody else could make the controller send any file that it can read.
      - Relative paths start at the playbook. Has no effect on O(definition), whose C(script) the playbook itself names.
    type: list
    elements: path
    default: []
  definition:
    description:
      - One service, in the fields of FDL.
      - C(script) with a line break is the script itself. Otherwise it is the path of a file on the controller, which
        is searched as O(fdl) is; there it is an error if the file does not exist.
      - Ansible replaces C({{ }}) in all values, also in a script; use C(!unsafe) for scripts with such braces.
      - Ansible reads the YAML before this module, by the rules of YAML 1.1. Put values of C(environment) in quotes,
        since otherwise C(1.10) arrives as C(1.1), C(0755) as C(493) and C(12:30:00) as C(45000). There is a warning for
        each number, boolean and date. Of a template, write C("{{ port | string }}").
    type: dict
  names:
    description:
      - The services that shall be absent, when O(state=absent). The names in O(fdl) or O(definition) can serve as
        well.
    type: list
    elements: str
    aliases: [name]
  state:
    description:
      - With V(present) the services of O(fdl) or O(definition) exist and are as described.
      - With V(absent) they do not exist. What they read and wrote stays in the store, unless O(data=delete).
    type: str
    choices: [present, absent]
    default: present
  prune:
    description:
      - Whether all other services are removed. What they read and wrote stays in the store.
      - Can be given with O(state=present) only, and not at an existing OSCAR server.
    type: bool
    default: false
  data:
    description:
      - What happens to the buckets of removed services. Can be given with O(state=absent) only, where it is V(keep)
        if not given.
      - V(delete) deletes the buckets of their inputs and outputs with all that is in them, except for buckets that
        another service uses. This cannot be undone.
      - An existing OSCAR server always deletes the buckets, so there a service is removed with V(delete) only.
    type: str
    choices: [keep, delete]
  wait:
    description:
      - Whether to wait until the services are ready, which means that an uploaded file starts a job.
      - Has no effect with O(state=absent), in check mode, and at an existing OSCAR server.
    type: bool
    default: false
  wait_timeout:
    description: How long to wait, in seconds.
    type: int
    default: 120
  payload:
    description:
      - What the action plugin read from O(fdl) or O(definition), for the module's eyes only. Do not set it.
    type: str
seealso:
  - module: fedcloud.oscar.service_info
  - module: fedcloud.oscar.invocation
"""

EXAMPLES = r"""
- name: Declare all services of an FDL file
  fedcloud.oscar.service:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    fdl: grayify/fdl.yml

- name: Declare one service inline and wait until uploads start jobs
  fedcloud.oscar.service:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    definition:
      name: word-count
      image: docker.io/library/debian:12
      memory: 512Mi
      cpu: "0.5"
      timeout: 10m
      script: |
        #!/bin/sh
        wc -w "$INPUT_FILE_PATH" > "$TMP_OUTPUT_DIR/words.txt"
      input:
        - storage_provider: minio
          path: word-count/in
      output:
        - storage_provider: minio
          path: word-count/out
      environment:
        secrets:
          API_KEY: "{{ vaulted_api_key }}"
    wait: true

- name: Declare the services of a folder, and remove all others
  fedcloud.oscar.service:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    fdl: services/
    prune: true

- name: Remove a service and keep its data
  fedcloud.oscar.service:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    name: word-count
    state: absent

- name: Remove the services of a file with all that they read and wrote
  fedcloud.oscar.service:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    fdl: grayify/fdl.yml
    state: absent
    data: delete
"""

RETURN = r"""
plan:
  description: What was done to each service, or would be done in check mode.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the service.
      type: str
    action:
      description: One of V(create), V(update), V(unchanged), V(delete), V(absent).
      type: str
    changes:
      description: With V(update) the fields that change, each with C(path), C(before) and C(after). Secrets are
        hidden.
      type: list
      elements: dict
    revision:
      description: The revision after the change. Empty where the server does not count revisions.
      type: str
  sample:
    - name: grayify
      action: update
      changes:
        - path: memory
          before: 256Mi
          after: 512Mi
      revision: "2"
services:
  description:
    - The services that were created or updated, or would be in check mode. Those that are unchanged are left out.
    - Each is its normalised definition with all defaults. Secrets are hidden.
  returned: success
  type: list
  elements: dict
  sample:
    - name: grayify
      memory: 512Mi
      cpu: "0.2"
errors:
  description: All that is wrong with the services, each with C(path), C(value), C(message) and C(hint), and of an FDL
    file with C(file), C(line) and C(column).
  returned: when the services are refused
  type: list
  elements: dict
  sample:
    - path: functions.oscar[0].grayify.memory
      value: 2 GB
      message: "'2 GB' is not a memory quantity"
      hint: use for example 512Mi or 2Gi
      file: fdl.yml
      line: 5
      column: 9
"""

from ..module_utils._api.argspec import oscar_module, run
from ..module_utils._services.service import declare


def main():
    module = oscar_module(
        {
            "fdl": {"type": "path"},
            "script_folders": {"type": "list", "elements": "path", "default": []},
            "definition": {"type": "dict"},
            "names": {"type": "list", "elements": "str", "aliases": ["name"]},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "prune": {"type": "bool", "default": False},
            "data": {"type": "str", "choices": ["keep", "delete"]},
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 120},
            "payload": {"type": "str", "no_log": True},
        }
    )
    run(module, declare)


if __name__ == "__main__":
    main()
