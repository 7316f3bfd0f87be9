# SPDX-License-Identifier: Apache-2.0
"""Secrets survive being read and written back: what an answer hides, a request that returns it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oscar_fedcloud.fdl import HIDDEN, Service, from_document, keep_secrets, to_document

SERVICE_LABEL = "oscar_service"  # shown on every service by the OSCAR-compatible routes, as clients expect it


def keep_hidden(new: Service, old: Service | None, place: str = "service") -> Service:
    """The new service, with the old one's secrets wherever it says ``hidden`` or "".

    Also takes out the label ``oscar_service``, which only answers hold. Raises FdlError, with places under ``place``,
    for a hidden secret that the old service does not have.
    """
    labels = {label: value for label, value in new.labels.items() if (label, value) != (SERVICE_LABEL, new.name)}
    new = replace(new, labels=labels)
    if old is not None:
        blanks = _blank_means_hidden(to_document(new), to_document(old, secrets=False), to_document(old))
        new = from_document(blanks)
    return keep_secrets(new, old, place)


def _blank_means_hidden(given: Any, shown: Any, real: Any) -> Any:
    """``given`` with ``hidden`` for each "" in whose place the old document has a secret."""
    if isinstance(given, Mapping) and isinstance(shown, Mapping):
        return {name: _blank_means_hidden(value, shown.get(name), real.get(name)) for name, value in given.items()}
    return HIDDEN if given == "" and shown == HIDDEN != real else given
