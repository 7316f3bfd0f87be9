# SPDX-License-Identifier: Apache-2.0
"""Requirements of this server for service documents beyond the FDL, however the documents arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from oscar_fedcloud.catalogue.callback_addresses import callback_rule, networks_of
from oscar_fedcloud.catalogue.matching import filter_rule
from oscar_fedcloud.fdl import FdlProblem, Service

Rule = Callable[[Service], Iterator[FdlProblem]]


def document_rules(callback_networks: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules. ``callback_networks`` are in CIDR notation, as configured."""
    return filter_rule, callback_rule(networks_of(callback_networks))
