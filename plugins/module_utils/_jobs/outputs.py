# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: the objects that a job wrote, as the server recorded them, and fetching them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from http.client import HTTPException
from pathlib import PurePosixPath
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .._api.client import ApiError, Client, OscarError, object_path, path

_NOT_SERVED = 422  # the server cannot read from the provider that the request names


def outputs_of(module: AnsibleModule, client: Client, job_id: str) -> list[dict[str, Any]]:
    """Return all that the last attempt of a job wrote, in the order in which it was written.

    Each object has ``provider``, ``bucket``, ``key``, ``name`` below the output's folder, ``size`` and ``etag``.
    """
    where = path("v2", "jobs", job_id, "outputs")
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = client.get(where, cursor=cursor)
        found += page["outputs"]
        cursor = page["cursor"]
        if not cursor:
            break
    if page["total"] > len(found):
        module.warn(f"job {job_id} wrote {page['total']} objects, of which the first {len(found)} were recorded")
    return found


def fetch(module: AnsibleModule, client: Client, outputs: Iterable[dict[str, Any]], dest: str) -> None:
    """Store each output under ``dest`` by its name, and note in it the ``path`` of the file.

    A file that the job wrote to several outputs has the same name in each. It is fetched once.
    """
    fetched: set[str] = set()
    for output in outputs:
        parts = PurePosixPath(output["name"]).parts
        if not parts or ".." in parts or output["name"].startswith("/"):
            raise OscarError(f"output {output['bucket']}/{output['key']} is not fetched: its name leads out of {dest}")
        where = os.path.join(dest, *parts)
        if where in fetched or _download(module, client, output, where):
            fetched.add(where)
            output["path"] = where


def _download(module: AnsibleModule, client: Client, output: dict[str, Any], where: str) -> bool:
    """Fetch one object; False, with a warning, when the server has no access to its store."""
    name = f"{output['bucket']}/{output['key']}"
    query = {"provider": output["provider"]}
    try:
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=module.tmpdir, delete=False) as file:
            with client.open("GET", object_path(output["bucket"], output["key"]), query=query) as response:
                shutil.copyfileobj(response, file)
    except ApiError as error:
        if error.status != _NOT_SERVED:
            raise
        module.warn(f"{name} is not fetched: the server cannot read from its store {output['provider']}")
        return False
    except (HTTPException, OSError) as error:
        raise OscarError(f"{name} cannot be fetched to {where}: {error}") from error
    module.atomic_move(file.name, where)
    return True
