# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: the connection options of every module, and the one place where a module ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule, env_fallback

from .client import Client, OscarError

# Documented in doc_fragments/_connection.py.
CONNECTION: Mapping[str, Any] = {
    "endpoint": {"type": "str", "required": True, "fallback": (env_fallback, ["OSCAR_ENDPOINT"])},
    "username": {"type": "str", "default": "oscar", "fallback": (env_fallback, ["OSCAR_USERNAME"])},
    "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["OSCAR_PASSWORD"])},
    "token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["OSCAR_TOKEN"])},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "timeout": {"type": "int", "default": 60},
    "new_server": {"type": "bool", "default": False},
}


def oscar_module(
    argument_spec: Mapping[str, Any], required_one_of: Sequence[Sequence[str]] = (), **constraints: Any
) -> AnsibleModule:
    """The AnsibleModule, with the connection options added. Every module of the collection supports check mode."""
    return AnsibleModule(
        argument_spec={**CONNECTION, **argument_spec},
        required_one_of=[("password", "token"), *required_one_of],
        supports_check_mode=True,
        **constraints,
    )


def run(module: AnsibleModule, action: Callable[[AnsibleModule, Client], Mapping[str, Any]]) -> None:
    """End the module by what ``action`` returns, or as failed by the OscarError that it raises."""
    try:
        result = action(module, Client.from_params(module.params))
    except OscarError as error:
        module.fail_json(msg=error.message, **error.details)
    module.exit_json(**result)
