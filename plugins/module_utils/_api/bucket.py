# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: buckets of the invoker's store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .client import ApiError, Client, OscarError, Unreachable, path
from .views import views
from .wait import assume_new


def ensure(module: AnsibleModule, client: Client) -> dict[str, Any]:
    """Make the bucket of the task present or absent; what the module returns. Raises OscarError."""
    name, wanted = module.params["name"], module.params["state"] == "present"
    if wanted and module.params["data"]:
        raise OscarError("data can be given with state=absent only; a bucket that is to be present keeps its data")
    try:
        exists = _exists(client, name)
    except Unreachable as error:
        assume_new(module, error, "this is for a server without buckets")
        exists = False
    if exists and not wanted:
        _check_deletion(client, name, module.params)
        if not module.check_mode:
            query = {"data": module.params["data"], "force": "true" if module.params["force"] else None}
            client.send("DELETE", path("v2", "buckets", name), query=query)
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


def _check_deletion(client: Client, name: str, params: Mapping[str, Any]) -> None:
    """Raise OscarError for a deletion that the server would refuse."""
    if users := [] if params["force"] else _users(client, name):
        raise OscarError(f"bucket {name} is used by {', '.join(users)}; remove these services first, or set force")
    if not params["data"] and client.get(path("v2", "buckets", name, "objects"), limit=1)["objects"]:
        raise OscarError(f"bucket {name} is not empty; set data to delete if its objects are to be deleted with it")


def _users(client: Client, name: str) -> list[str]:
    """The services that read from or write to the bucket in the server's own store."""
    found = []
    for service, view in sorted(views(client).items()):
        document = view["document"]
        places = [*(document.get("input") or ()), *(document.get("output") or ())]
        if any(place["path"].partition("/")[0] == name and _own(place) for place in places):
            found.append(service)
    return found


def _own(place: Mapping[str, Any]) -> bool:
    return place["storage_provider"] in ("minio", "minio.default")
