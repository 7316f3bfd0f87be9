# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: buckets of the invoker's store."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ._client import ApiError, Client, OscarError, Unreachable, path


def ensure(module: AnsibleModule, client: Client) -> dict[str, Any]:
    """Make the bucket of the task present or absent; what the module returns. Raises OscarError."""
    name, wanted = module.params["name"], module.params["state"] == "present"
    if wanted and module.params["data"]:
        raise OscarError("data can be given with state=absent only; a bucket that is to be present keeps its data")
    try:
        exists = _exists(client, name)
    except Unreachable as error:
        if not module.check_mode:
            raise
        module.warn(f"{error.message}; this is for a server without buckets")
        exists = False
    if exists and not wanted:
        _delete(client, name, module.params["data"] == "delete", module.check_mode)
    elif wanted and not exists and not module.check_mode:
        client.send("PUT", path("v2", "buckets", name))
    texts = {True: f"bucket: {name}\n", False: ""}
    return {
        "changed": exists != wanted,
        "bucket": {"name": name} if wanted else None,
        "diff": {"before": texts[exists], "after": texts[wanted]},
    }


def _exists(client: Client, name: str) -> bool:
    try:
        client.get(path("v2", "buckets", name))
    except ApiError as error:
        if error.status != 404 or not error.is_problem:
            raise
        return False
    return True


def _delete(client: Client, name: str, data: bool, check_mode: bool) -> None:
    """Delete the bucket; in check mode, find out whether that would be refused."""
    if not data and client.get(path("v2", "buckets", name, "objects"), limit=1)["objects"]:
        raise OscarError(f"bucket {name} is not empty; set data to delete if its objects are to be deleted with it")
    if not check_mode:
        client.send("DELETE", path("v2", "buckets", name), query={"data": "delete" if data else None})
