# SPDX-License-Identifier: Apache-2.0
"""Credentials in files. They are read on each use, because they may be renewed while the daemon runs."""

from __future__ import annotations

import os
from pathlib import Path

from oscar_fedcloud.autoscaler.clouds.protocol import CloudError
from oscar_fedcloud.config import ConfigError, read_secret


def read(path: str) -> str:
    """Return the text of a file. A relative path names a credential passed by systemd. Raises CloudError."""
    try:
        text = read_secret(path)
    except ConfigError as error:
        raise CloudError(str(error)) from error
    if not text:
        raise CloudError(f"secret file {path} is empty")
    return text


def replace(path: str, text: str) -> None:
    """Write a renewed secret to its file atomically, with the file's permissions. Raises OSError."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
