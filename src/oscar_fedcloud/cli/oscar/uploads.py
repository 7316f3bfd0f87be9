# SPDX-License-Identifier: Apache-2.0
"""Determines which files `oscar put` sends, and where to, before anything is sent."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oscar_fedcloud.cli.oscar.errors import CommandError, WrongUse
from oscar_fedcloud.cli.oscar.text import printable


@dataclass(frozen=True, slots=True)
class Upload:
    """A local file, its name below the input folder, and its place; without a bucket it is sent as a request."""

    path: Path
    name: str
    provider: str = ""
    bucket: str = ""
    key: str = ""


def collect(files: Sequence[Path]) -> list[Upload]:
    """Return the files to send; for a folder, all files below it. Raises WrongUse."""
    found = [upload for file in files for upload in _below(file)]
    first: dict[str, Path] = {}
    for upload in found:
        if (other := first.setdefault(upload.name, upload.path)) is not upload.path:
            names = f"{printable(str(other))} and {printable(str(upload.path))}"
            raise WrongUse(
                f"{names} would become the same object {printable(upload.name)}; send them one after the other"
            )
    if not found:
        raise WrongUse("there is no file to send: " + ", ".join(str(file) for file in files))
    return found


def _below(file: Path) -> Iterator[Upload]:
    if file.is_dir():
        for folder, folders, names in os.walk(file):
            folders.sort()
            paths = (Path(folder, name) for name in sorted(names))
            yield from (Upload(path, path.relative_to(file).as_posix()) for path in paths if path.is_file())
    elif file.is_file():
        yield Upload(file, file.name)
    else:
        what = "is neither a file nor a folder" if file.exists() else "does not exist"
        raise WrongUse(f"{printable(str(file))} {what}")


def route(uploads: Iterable[Upload], document: Mapping[str, Any], chosen: str | None) -> list[Upload]:
    """Return the uploads with their places: below the first input that accepts their name.

    Raises WrongUse, CommandError.

    Args:
        document: the service.
        chosen: the path of the input to use.
    """
    from oscar_fedcloud.fdl import FdlError, parse_service

    try:
        service = parse_service(dict(document), strict=False)
    except FdlError as error:
        raise CommandError(f"this program does not understand the server's document of the service: {error}") from error
    inputs = [each for each in service.input if chosen is None or each.path.strip("/") == chosen.strip("/")]
    paths = ", ".join(each.path for each in service.input) or "none"
    if chosen is not None and not inputs:
        raise WrongUse(f"service {service.name} has no input {chosen}; its inputs: {paths}")
    if not service.input:
        return list(uploads)
    return [_routed(upload, service.name, inputs) for upload in uploads]


def _routed(upload: Upload, service: str, inputs: Sequence[Any]) -> Upload:
    from oscar_fedcloud.fdl import takes_name

    for each in inputs:
        if takes_name(each, upload.name):
            return Upload(upload.path, upload.name, each.storage_provider, each.bucket, each.key_prefix + upload.name)
    wanted = "; ".join(_wanted(each) for each in inputs)
    raise WrongUse(f"{printable(upload.name)} would not start service {service}, which takes {wanted}")


def _wanted(place: Any) -> str:
    rules = [f"names that begin with {' or '.join(place.prefix)}"] if place.prefix else []
    rules += [f"names that end in {' or '.join(place.suffix)}"] if place.suffix else []
    return f"in {place.path} " + " and ".join(rules)
