# SPDX-License-Identifier: Apache-2.0
"""Declared services and changes to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from oscar_fedcloud.fdl import Change as LeafChange
from oscar_fedcloud.fdl import Service

ServiceState = Literal["ready", "pending", "error"]
Action = Literal["create", "update", "unchanged", "delete", "absent"]


@dataclass(frozen=True, slots=True)
class Declared:
    """A service as stored in the catalogue, with its token and secrets.

    Attributes:
        revision: the number of the document's revision, starting at 1.
        reason: why the service is not ready; empty if it is ready.
        created: time of the first declaration, in seconds since the epoch.
    """

    service: Service
    revision: int
    state: ServiceState = "ready"
    reason: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """One request to change the catalogue.

    Attributes:
        documents: the services to create or update (state ``present``).
        names: the services to remove (state ``absent``).
        data: whether buckets of a removed service are kept or deleted (law 8).
        prune: whether services that are not among ``documents`` are removed.
        expect_revision: None accepts any revision; 0 requires that the one service does not exist; n requires that it
            is at revision n. Otherwise Conflict is raised.
        declared: time of the request (s); None means now.
    """

    documents: tuple[Service, ...] = ()
    names: tuple[str, ...] = ()
    state: Literal["present", "absent"] = "present"
    data: Literal["keep", "delete"] = "keep"
    prune: bool = False
    expect_revision: int | None = None
    declared: float | None = None


@dataclass(frozen=True, slots=True)
class PlanItem:
    """The effect of a change on one service. ``before`` and ``after`` are normalised documents with hidden secrets.

    Attributes:
        revision: the revision after the change (in a dry run, the revision it would have); 0 if the service is absent.
    """

    name: str
    action: Action
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    changes: tuple[LeafChange, ...] = ()
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """The effect of a change: computed in a dry run, computed and applied otherwise (law 7)."""

    items: tuple[PlanItem, ...]
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the change modifies any service."""
        return any(item.action in ("create", "update", "delete") for item in self.items)


class NotFound(Exception):
    """The service, job, bucket, object or dead letter does not exist; the message names it."""


class Conflict(Exception):
    """The service is at another revision than expected; the message contains both."""


class NotStarted(Exception):
    """A submitted storage event does not start the named service; the message says why."""
