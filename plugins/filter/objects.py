# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Kubernetes objects as plain documents (see plain_object.yml)."""

from __future__ import annotations

# What a server sets itself, and a new one would refuse.
SERVER_SET = (
    "creationTimestamp",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
)


def plain_object(found):
    """The object without what its server added; None for an object that the cluster makes by itself."""
    metadata = {name: value for name, value in found["metadata"].items() if name not in SERVER_SET}
    if found.get("type") == "kubernetes.io/service-account-token":
        return None
    return {**{name: value for name, value in found.items() if name != "status"}, "metadata": metadata}


class FilterModule:
    """The filters of this file."""

    def filters(self):
        return {"plain_object": plain_object}
