# SPDX-License-Identifier: Apache-2.0
"""Compute how many machines fit into the rest of a quota."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from oscar_fedcloud.autoscaler.clouds.protocol import Headroom


class Quota(msgspec.Struct, frozen=True):
    """The quota of one resource, in the unit of that resource. A negative limit means unlimited."""

    used: float
    limit: float


def headroom_in(quotas: Mapping[str, Quota], machine: Mapping[str, float]) -> Headroom:
    """Return the headroom for machines that each use ``machine``. Resources without a quota are unlimited."""
    tightest: tuple[int, str] | None = None
    for name, amount in machine.items():
        quota = quotas.get(name)
        if quota is None or quota.limit < 0 or amount <= 0:
            continue
        count = max(0, int((quota.limit - quota.used) // amount))
        if tightest is None or count < tightest[0]:
            tightest = count, f"{name}: {quota.used:g} of {quota.limit:g} used"
    return Headroom(*tightest) if tightest else Headroom(None)
