#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: bucket
short_description: Make buckets present or absent in the store of an OSCAR invoker
version_added: "2.0.0"
author:
  - The OSCAR for FedCloud developers (@fedcloud)
description:
  - Creates or deletes a bucket in the invoker's own store.
  - Buckets of services are created with the services and do not need this module.
extends_documentation_fragment:
  - fedcloud.oscar._connection
  - fedcloud.oscar._attributes
  - fedcloud.oscar._attributes.actiongroup_oscar
attributes:
  check_mode:
    support: full
    details:
      - Where no server answers, the task fails, unless O(new_server=true).
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name of the bucket.
    type: str
    required: true
  state:
    description:
      - Whether the bucket exists.
      - A bucket that is not empty is deleted with O(data=delete) only; without it the module fails.
    type: str
    choices: [present, absent]
    default: present
  data:
    description:
      - V(delete) deletes all objects of the bucket with it, which cannot be undone. Can be given with O(state=absent)
        only.
    type: str
    choices: [delete]
  force:
    description:
      - Whether a bucket is deleted although services use it. The server makes it again, empty, as long as these
        services exist.
      - Without it the module fails and names the services.
    type: bool
    default: false
seealso:
  - module: fedcloud.oscar.service
"""

EXAMPLES = r"""
- name: Create a bucket
  fedcloud.oscar.bucket:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    name: photographs

- name: Delete a bucket with all that is in it
  fedcloud.oscar.bucket:
    endpoint: https://oscar.example.org
    password: "{{ oscar_password }}"
    name: photographs
    state: absent
    data: delete
"""

RETURN = r"""
bucket:
  description: The bucket, V(null) when it is absent.
  returned: success
  type: dict
  contains:
    name:
      description: Name of the bucket.
      type: str
  sample:
    name: photographs
"""

from ..module_utils._api.argspec import oscar_module, run
from ..module_utils._api.bucket import ensure


def main():
    module = oscar_module(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "data": {"type": "str", "choices": ["delete"]},
            "force": {"type": "bool", "default": False},
        }
    )
    run(module, ensure)


if __name__ == "__main__":
    main()
