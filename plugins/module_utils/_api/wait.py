# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: waiting for the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from .client import OscarError, Unreachable


def assume_new(module: AnsibleModule, error: Unreachable, consequence: str) -> None:
    """Raise the error, unless the task is only checked and says that the server is yet to be installed."""
    if not (module.check_mode and module.params["new_server"]):
        raise error
    module.warn(f"{error.message}; {consequence}")


class TimedOut(OscarError):
    """What was waited for did not come."""


def poll(
    probe: Callable[[], Any],
    timeout: float,
    what: Callable[[], str],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Any:
    """Call ``probe`` until it returns something other than None, and return that.

    The pauses grow from 0.1 s to 2 s. A server that is away (an upgrade, a restart) is asked again.
    After ``timeout`` seconds TimedOut is raised; ``what()`` ends its message, e.g. "job x is still queued".
    """
    end = clock() + timeout
    pause = 0.1
    while True:
        away = ""
        try:
            found = probe()
            if found is not None:
                return found
        except Unreachable as error:
            away = error.message
        left = end - clock()
        if left <= 0:
            raise TimedOut(f"after {timeout} seconds {away or what()}")
        sleep(min(pause, left))
        pause = min(pause * 1.5, 2.0)
