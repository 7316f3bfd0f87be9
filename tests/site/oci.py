# SPDX-License-Identifier: Apache-2.0
"""Container images from files on this machine, as an OCI image layout. The same content gives the same digest."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
Names = Mapping[str, str]


def layer(target: Path, files: Mapping[str, Path], links: Names, folders: Mapping[str, int]) -> Path:
    """Write a layer of executable files, links and folders (with their modes) as a tar archive."""
    with tarfile.open(target, "w") as archive:
        for name, mode in sorted((_parents([*files, *links]) | dict(folders)).items()):
            archive.addfile(_entry(name, tarfile.DIRTYPE, mode))
        for name, source in sorted(files.items()):
            entry = _entry(name, tarfile.REGTYPE, 0o755)
            entry.size = source.stat().st_size
            with source.open("rb") as stream:
                archive.addfile(entry, stream)
        for name, to in sorted(links.items()):
            entry = _entry(name, tarfile.SYMTYPE, 0o777)
            entry.linkname = to
            archive.addfile(entry)
    return target


def image(folder: Path, layers: Sequence[Path], **config: Any) -> str:
    """Write an image layout with one image and return its digest. ``config`` is as in the specification."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    kept = [_keep(blobs, file) for file in layers]
    settings = {"Env": [PATH]} | config
    rootfs = {"type": "layers", "diff_ids": [found["digest"] for found in kept]}
    described = {"architecture": "amd64", "os": "linux", "config": settings, "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json"} | _keep_json(blobs, described),
        # Not compressed: it only travels between processes of one machine.
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar"} | found for found in kept],
    }
    top = {"mediaType": manifest["mediaType"]} | _keep_json(blobs, manifest)
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    return str(top["digest"])


def _parents(names: Sequence[str]) -> dict[str, int]:
    found = {str(parent) for name in names for parent in Path(name).parents}
    return dict.fromkeys(found - {"."}, 0o755)


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = kind, mode
    return entry


def _keep(blobs: Path, file: Path) -> dict[str, Any]:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    shutil.copyfile(file, blobs / digest)
    return {"digest": f"sha256:{digest}", "size": file.stat().st_size}


def _keep_json(blobs: Path, value: object) -> dict[str, Any]:
    data = json.dumps(value).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"digest": f"sha256:{digest}", "size": len(data)}
