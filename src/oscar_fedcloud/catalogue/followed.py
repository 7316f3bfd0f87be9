# SPDX-License-Identifier: Apache-2.0
"""Repositories of services that other writers may change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from oscar_fedcloud.catalogue.changes import Changes
from oscar_fedcloud.runtime.tasks import Work


@runtime_checkable
class FollowedRepository(Protocol):
    """A repository whose services can be changed by others, e.g. with ``kubectl``."""

    def tasks(self, changes: Changes) -> Sequence[tuple[str, Work]]:
        """Return the tasks that apply changes of others, by name."""
