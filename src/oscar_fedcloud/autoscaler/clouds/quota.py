# SPDX-License-Identifier: Apache-2.0
"""How many machines fit into what a quota leaves."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from oscar_fedcloud.autoscaler.clouds.protocol import Headroom


class Quota(msgspec.Struct, frozen=True):
    """Of one resource, in the unit of that resource; a negative limit means none."""

    used: float
    limit: float


def headroom_in(quotas: Mapping[str, Quota], machine: Mapping[str, float]) -> Headroom:
    """Room for machines that each take ``machine`` of the quotas; what a quota does not name is not limited."""
    tightest: tuple[int, str] | None = None
    for name, amount in machine.items():
        quota = quotas.get(name)
        if quota is None or quota.limit < 0 or amount <= 0:
            continue
        count = max(0, int((quota.limit - quota.used) // amount))
        if tightest is None or count < tightest[0]:
            tightest = count, f"{name}: {quota.used:g} of {quota.limit:g} used"
    return Headroom(*tightest) if tightest else Headroom(None)
