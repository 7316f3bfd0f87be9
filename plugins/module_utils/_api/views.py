# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: reading declared services."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .client import PAGE, ApiError, Client, path


def views(client: Client, names: Sequence[str] = ()) -> dict[str, Any]:
    """The server's view of these services (none named: of all), by name, without those that do not exist."""
    if len(names) == 1:
        try:
            found = [client.get(path("v2", "services", names[0]))]
        except ApiError as error:
            if error.status != 404 or not error.is_problem:
                raise
            found = []
    else:
        found = list(client.all("/v2/services", "services", limit=PAGE))
    return {view["name"]: view for view in found if not names or view["name"] in names}
