# SPDX-License-Identifier: Apache-2.0
"""Declared services, and changes of them."""

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
    """A service as the catalogue holds it, with its token and secrets.

    revision: counts the changes of the document, from 1. reason: why it is not ready, "" when it is.
    created: seconds since the epoch of the first declaration.
    """

    service: Service
    revision: int
    state: ServiceState = "ready"
    reason: str = ""
    created: float = 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """One request to make the catalogue look different.

    documents: the services to have (state ``present``). names: the services to be without (state ``absent``).
    data: whether buckets of a removed service are kept or deleted (law 8). prune: services that are not among
    ``documents`` go. expect_revision: None = whatever is there; 0 = the one service must not exist; n = it must stand
    at revision n; else Conflict. declared: when it was asked for (s), None = now.
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
    """What a change does to one service. ``before`` and ``after`` are normalised documents with their secrets hidden.

    revision: the revision after the change (what it would be, in a dry run); 0 when the service is absent.
    """

    name: str
    action: Action
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    changes: tuple[LeafChange, ...] = ()
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a change does: computed in a dry run, computed and carried out otherwise (law 7)."""

    items: tuple[PlanItem, ...]
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether any service differs afterwards."""
        return any(item.action in ("create", "update", "delete") for item in self.items)


class NotFound(Exception):
    """No such service, job, bucket, object or dead letter; the message names it."""


class Conflict(Exception):
    """The service stands at another revision than the change expects; the message names both."""


class NotStarted(Exception):
    """A submitted storage event asks nothing of the named service; the message says why."""
