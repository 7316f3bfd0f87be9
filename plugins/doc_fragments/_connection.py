# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""PRIVATE to the collection: the options by which a module reaches the invoker (module_utils/_api/argspec.py)."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  endpoint:
    description:
      - Base URL of the invoker's API, for example V(https://oscar.example.org) or V(http://127.0.0.1:8080).
      - If not given, the environment variable E(OSCAR_ENDPOINT) of the target is used.
    type: str
    required: true
  username:
    description:
      - Name of the administrator, for HTTP Basic authentication.
      - If not given, the environment variable E(OSCAR_USERNAME) of the target is used.
    type: str
    default: oscar
  password:
    description:
      - Password of O(username). Either this or O(token) is needed.
      - If not given, the environment variable E(OSCAR_PASSWORD) of the target is used.
    type: str
  token:
    description:
      - Bearer token. It is preferred to O(password).
      - If not given, the environment variable E(OSCAR_TOKEN) of the target is used.
    type: str
  validate_certs:
    description:
      - Whether the server's TLS certificate is checked. Set it to V(false) for tests only.
    type: bool
    default: true
  ca_path:
    description:
      - File on the target with the CA certificates (PEM) that are trusted instead of those of the system.
    type: path
  timeout:
    description:
      - Longest time in seconds to wait for the server to answer one request.
    type: int
    default: 60
  new_server:
    description:
      - Whether the server is yet to be installed, for example by an earlier play of the same playbook.
      - In check mode, the task then assumes a server without services, buckets and jobs where none answers, and warns
        of that. Without it, a server that does not answer is an error in check mode too.
    type: bool
    default: false
"""
