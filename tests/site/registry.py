# SPDX-License-Identifier: Apache-2.0
"""The image registry of the mirror. Images keep their paths, without the name of the registry they come from."""

from __future__ import annotations

import json
from pathlib import Path

import once
from images import Image, images
from run import run, say, temporary, write
from settings import HERE, REGISTRY, SITE

DATA = SITE / "registry"
CONFIG = SITE / "registry.yml"


def command() -> list[str | Path]:
    """The command that serves the registry."""
    settings = {
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(DATA)}},
        "http": {"addr": REGISTRY},
    }
    write(CONFIG, json.dumps(settings))  # which is YAML, too
    return ["docker-registry", "serve", CONFIG]


def fill() -> None:
    """Push the images that are missing or have changed. The registry must be running."""
    for image in images():
        with once.making(_tag(image), HERE / "oci.py", *image.made_from) as needed:
            if needed:
                say(f"Packing the image {image.name} ...")
                with temporary() as folder:
                    image.build(folder)
                    copy = ("skopeo", "copy", "--dest-tls-verify=false", "--preserve-digests")
                    run(*copy, f"oci:{folder}/image", f"docker://{REGISTRY}/{_path(image)}")


def _path(image: Image) -> str:
    return image.name.partition("/")[2]


def _tag(image: Image) -> Path:
    """The file in which the registry keeps the digest of a tag."""
    path, _, tag = _path(image).rpartition(":")
    return DATA / "docker/registry/v2/repositories" / path / "_manifests/tags" / tag / "current/link"
