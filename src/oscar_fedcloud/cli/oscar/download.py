# SPDX-License-Identifier: Apache-2.0
"""Fetches what a job wrote: exactly the recorded objects, verified, under names that stay inside the folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oscar_fedcloud.cli.oscar.errors import CommandError, NotOffered
from oscar_fedcloud.cli.oscar.places import local_name
from oscar_fedcloud.cli.oscar.server import Server
from oscar_fedcloud.cli.oscar.text import printable

_MD5 = re.compile(r"[0-9a-f]{32}")


class Names:
    """The files fetched so far, so that no result overwrites another."""

    def __init__(self, dest: Path) -> None:
        self.dest = dest
        self._taken: dict[Path, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def take(self, name: str, bucket: str, key: str, job_id: str) -> Path:
        """Return the path for the object: in a folder of its job if another object already has the name."""
        path = self.dest / local_name(name)
        with self._lock:
            owner = self._taken.setdefault(path, (f"{bucket}/{key}", job_id))
            if owner != (f"{bucket}/{key}", job_id):
                path = self.dest / job_id / local_name(f"{bucket}/{key}")
                self._taken.setdefault(path, (f"{bucket}/{key}", job_id))
        return path


def fetch(server: Server, job: Mapping[str, Any], names: Names) -> list[Path]:
    """Fetch the outputs of a job, and return the files in their order. Raises CommandError."""
    found = []
    for output in server.outputs(job):
        bucket, key = str(output["bucket"]), str(output["key"])
        path = names.take(str(output.get("name") or key.rpartition("/")[2]), bucket, key, str(job["id"]))
        download(server, output, path)
        found.append(path)
    total = int(job.get("outputs_total") or 0)
    if total > len(found):
        raise NotOffered(f"job {job['id']} wrote {total} objects, of which only the first {len(found)} are recorded")
    return found


def download(server: Server, output: Mapping[str, Any], path: Path) -> None:
    """Fetch one recorded object into a file, atomically. Raises CommandError."""
    bucket, key, provider = str(output["bucket"]), str(output["key"]), output.get("provider") or None
    digest = hashlib.md5(usedforsecurity=False)

    def once() -> int:
        digest_now = hashlib.md5(usedforsecurity=False)
        with server.read(bucket, key, provider) as chunks:
            count = write(path, chunks, digest_now)
        nonlocal digest
        digest = digest_now
        return count

    count = server.http.repeated(once)
    if output.get("size") not in (None, count) or not _same(server, output, digest.hexdigest()):
        path.unlink(missing_ok=True)
        raise CommandError(f"{printable(f'{bucket}/{key}')} is another object now than the one that the job wrote")


def _same(server: Server, output: Mapping[str, Any], md5: str) -> bool:
    """Return whether the object is what the job wrote. The ETag of an encrypted object only looks like an MD5."""
    etag = str(output.get("etag") or "")
    if not _MD5.fullmatch(etag) or etag == md5:
        return True
    key = str(output["key"])
    found, _ = server.objects(str(output["bucket"]), key, 1, output.get("provider") or None)
    return bool(found) and found[0]["key"] == key and found[0]["etag"] == etag


def write(path: Path, chunks: Any, digest: Any = None) -> int:
    """Write a file through a temporary one; return its size. Raises CommandError."""
    fresh = path.with_name(f".{secrets.token_hex(6)}.part")
    count = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh.open("xb") as file:
            for chunk in chunks:
                file.write(chunk)
                count += len(chunk)
                if digest is not None:
                    digest.update(chunk)
        os.replace(fresh, path)
    except OSError as error:
        raise CommandError(f"{printable(str(path))} cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):  # an error of the folder itself has already been reported
            fresh.unlink(missing_ok=True)
    return count
