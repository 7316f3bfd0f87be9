# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: the objects that a job left in the outputs of its service, found and fetched."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from http.client import HTTPException
from pathlib import PurePosixPath
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ._client import Client, OscarError, object_path, path
from ._fdl import Service


def find_outputs(client: Client, service: Service, job: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Objects below the outputs of the service which belong to a job, as ``bucket``, ``key``, ``name`` and ``size``.

    ``name`` is the key below the output's folder. Outputs in stores other than the input's are not looked at.
    """
    found = []
    for target in service.output:
        if target.storage_provider != job["provider"]:
            continue
        prefix = f"{target.folder}/" if target.folder else ""
        listing = client.get(path("v2", "buckets", target.bucket, "objects"), prefix=prefix)["objects"]
        for row in choose(listing, key, job["attempt_list"][-1]["started"]):
            name = row["key"][len(prefix) :]
            found.append({"bucket": target.bucket, "key": row["key"], "name": name, "size": row["size"]})
    return found


def choose(listing: Iterable[Mapping[str, Any]], key: str, started: str) -> list[Mapping[str, Any]]:
    """The rows that belong to the job of an input key: those with its name in theirs, else those written since then.

    The name comes first, because other jobs may write at the same time, and because an output whose content is what it
    was is not written again. Times are RFC 3339 in UTC, so they compare as text.
    """
    rows = [row for row in listing if row["key"] != key]
    stem = PurePosixPath(key).stem
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(stem)}(?![A-Za-z0-9])")
    named = [row for row in rows if stem and word.search(PurePosixPath(row["key"]).name)]
    return named or [row for row in rows if row["modified"] >= started]


def fetch(module: AnsibleModule, client: Client, outputs: Iterable[dict[str, Any]], dest: str) -> None:
    """Store each output under ``dest`` by its name, and note in it the ``path`` of the file."""
    for output in outputs:
        parts = PurePosixPath(output["name"]).parts
        if not parts or ".." in parts or output["name"].startswith("/"):
            raise OscarError(f"output {output['bucket']}/{output['key']} is not fetched: its name leads out of {dest}")
        output["path"] = os.path.join(dest, *parts)
        _download(module, client, output)


def _download(module: AnsibleModule, client: Client, output: Mapping[str, Any]) -> None:
    try:
        os.makedirs(os.path.dirname(output["path"]), exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=module.tmpdir, delete=False) as file:
            with client.open("GET", object_path(output["bucket"], output["key"])) as response:
                shutil.copyfileobj(response, file)
    except (HTTPException, OSError) as error:
        where = f"{output['bucket']}/{output['key']}"
        raise OscarError(f"{where} cannot be fetched to {output['path']}: {error}") from error
    module.atomic_move(file.name, output["path"])
