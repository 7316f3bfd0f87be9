# SPDX-License-Identifier: Apache-2.0
"""The image registry of the mirror. Images keep their paths; the names of the registries they come from are left out."""

from __future__ import annotations

import tempfile
from pathlib import Path

import once
from images import Image, images
from run import run, say, write
from settings import HERE, REGISTRY, REGISTRY_PORT, SITE

DATA = SITE / "registry"
CONFIG = SITE / "registry.yml"


def command() -> list[str | Path]:
    """The command that serves the registry."""
    settings = f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {DATA}}}}}\nhttp: {{addr: '{REGISTRY}'}}\nlog: {{level: warn}}\n"
    write(CONFIG, settings)
    return ["docker-registry", "serve", CONFIG]


def fill() -> None:
    """Push the images that are missing or have changed. The registry must be running."""
    for image in images():
        with once.making(_tag(image), HERE / "oci.py", *image.made_from) as needed:
            if needed:
                say(f"Packing the image {image.name} ...")
                with tempfile.TemporaryDirectory(dir=SITE) as folder:
                    image.build(Path(folder))
                    target = f"docker://{REGISTRY}/{_path(image)}"
                    run("skopeo", "copy", "--dest-tls-verify=false", "--preserve-digests", f"oci:{folder}/image", target)


def _path(image: Image) -> str:
    return image.name.partition("/")[2]


def _tag(image: Image) -> Path:
    """The file in which the registry keeps the digest of a tag."""
    path, _, tag = _path(image).rpartition(":")
    return DATA / "docker/registry/v2/repositories" / path / "_manifests/tags" / tag / "current/link"
