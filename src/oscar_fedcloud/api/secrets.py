# SPDX-License-Identifier: Apache-2.0
"""Keeps secrets when a document is read and written back: hidden values in a request keep their stored values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oscar_fedcloud.fdl import HIDDEN, Service, from_document, keep_secrets, to_document

SERVICE_LABEL = "oscar_service"  # the OSCAR-compatible routes show it on every service, as clients expect


def keep_hidden(new: Service, old: Service | None, place: str = "service") -> Service:
    """Return the new service with the old one's secrets wherever it has ``hidden`` or "".

    Also removes the label ``oscar_service``, which only responses contain. Raises FdlError, with places under
    ``place``, for a hidden secret that the old service does not have.
    """
    labels = {label: value for label, value in new.labels.items() if (label, value) != (SERVICE_LABEL, new.name)}
    new = replace(new, labels=labels)
    if old is not None:
        blanks = _blank_means_hidden(to_document(new), to_document(old, secrets=False), to_document(old))
        new = from_document(blanks)
    return keep_secrets(new, old, place)


def _blank_means_hidden(given: Any, shown: Any, real: Any) -> Any:
    """Return ``given`` with ``hidden`` for each "" where the old document has a secret."""
    if isinstance(given, Mapping) and isinstance(shown, Mapping):
        return {name: _blank_means_hidden(value, shown.get(name), real.get(name)) for name, value in given.items()}
    return HIDDEN if given == "" and shown == HIDDEN != real else given
