# SPDX-License-Identifier: Apache-2.0
"""The invoker's backlog: Jobs that it would start now if there were room, by shape. Optional for decisions."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx
import msgspec

from oscar_fedcloud.autoscaler.cluster.objects import Quantities, TolerationSpec
from oscar_fedcloud.autoscaler.cluster.scheduling_groups import intern, tolerations_of
from oscar_fedcloud.autoscaler.model import SchedulingGroup
from oscar_fedcloud.autoscaler.quantities import requested
from oscar_fedcloud.config import ConfigError

_PATIENCE = 5.0  # s


class BacklogUnavailable(Exception):
    """The invoker's backlog could not be read."""


@dataclass(frozen=True, slots=True)
class InvokerBacklogRow:
    """Jobs of one shape that would start now, as counts by service."""

    shape: SchedulingGroup
    services: Mapping[str, int]


class InvokerBacklog(Protocol):
    """A source of the backlog."""

    async def rows(self) -> list[InvokerBacklogRow]:
        """Return what would start now if there were room. Raises BacklogUnavailable."""


class _Row(msgspec.Struct):
    requests: Quantities
    services: dict[str, int]
    node_selector: dict[str, str] = {}
    tolerations: list[TolerationSpec] = []


class _Answer(msgspec.Struct):
    backlog: list[_Row]


class InvokerAnswer:
    """Reads the backlog from the invoker's API.

    Args:
        authorization: returns the Authorization header of each request
        verify: as in httpx
    """

    def __init__(self, url: str, authorization: Callable[[], str], verify: bool | str = True) -> None:
        self._url = f"{url.rstrip('/')}/v2/backlog"
        self._authorization = authorization
        self._client = httpx.AsyncClient(timeout=_PATIENCE, verify=_tls(verify))

    async def rows(self) -> list[InvokerBacklogRow]:
        """Return what would start now if there were room. Raises BacklogUnavailable."""
        try:
            answer = await self._client.get(self._url, headers={"Authorization": self._authorization()})
            answer.raise_for_status()
            return parse(answer.content)
        except (httpx.HTTPError, ConfigError, ValueError) as error:
            raise BacklogUnavailable(f"GET {self._url}: {error or type(error).__name__}") from error

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def parse(body: bytes) -> list[InvokerBacklogRow]:
    """Return the rows of an answer. Raises ValueError."""
    return [_row(row) for row in msgspec.json.decode(body, type=_Answer).backlog]


def _row(row: _Row) -> InvokerBacklogRow:
    requests = {**requested(row.requests), "pods": 1}
    shape = SchedulingGroup(
        tuple(sorted((name, value) for name, value in requests.items() if value)),
        tuple(sorted(row.node_selector.items())),
        tolerations=tolerations_of(row.tolerations),
    )
    return InvokerBacklogRow(intern(shape), row.services)


def _tls(verify: bool | str) -> bool | ssl.SSLContext:
    return ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify
