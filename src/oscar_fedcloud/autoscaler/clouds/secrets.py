# SPDX-License-Identifier: Apache-2.0
"""Credentials in files. They are read anew each time, since somebody may renew them while we run."""

from __future__ import annotations

import os
from pathlib import Path

from oscar_fedcloud.autoscaler.clouds.protocol import CloudError
from oscar_fedcloud.config import ConfigError, read_secret


def read(path: str) -> str:
    """The text of a file; a relative path is that of a credential which systemd hands over. Raises CloudError."""
    try:
        text = read_secret(path)
    except ConfigError as error:
        raise CloudError(str(error)) from error
    if not text:
        raise CloudError(f"secret file {path} is empty")
    return text


def replace(path: str, text: str) -> None:
    """Put a renewed secret into its file, whole or not at all, with the rights the file had. Raises OSError."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), target.stat().st_mode & 0o777)
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(target)
