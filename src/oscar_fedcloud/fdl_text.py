# SPDX-License-Identifier: Apache-2.0
"""Parses FDL text with PyYAML, for the daemon and the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from oscar_fedcloud.fdl import Source, read_text

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def events(text: str) -> Iterable[Any]:
    """Yield the events of a YAML text."""
    return yaml.parse(text, Loader=_LOADER)


def read_source(content: bytes | str, name: str = "") -> Source:
    """Return the document in a YAML or JSON text.

    Raises FdlError with line and column; ``name`` is that of the file.
    """
    return read_text(content, events, name)
