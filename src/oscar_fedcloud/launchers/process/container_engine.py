# SPDX-License-Identifier: Apache-2.0
"""Check the container engine in the background, so that its state is known without waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from oscar_fedcloud.launchers.process.container import Engine

_UNKNOWN = "no container engine has answered yet"
_LIFE = 15.0  # s for which an answer is valid


class EngineWatch:
    """The last known state of the container engine. An outdated state is refreshed in a thread."""

    def __init__(self, look: Callable[[], Engine | str]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._found: Engine | str = _UNKNOWN
        self._due = 0.0

    def known(self) -> Engine | str:
        """Return the last known state without waiting."""
        with self._lock:
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + _LIFE
                threading.Thread(target=self.look, name="container engine", daemon=True).start()
            return self._found

    def look(self) -> Engine | str:
        """Check now and return the state. Blocks."""
        found = self._look()
        with self._lock:
            self._found, self._due = found, time.monotonic() + _LIFE
        return found

    def usable(self) -> Engine | str:
        """Return the known engine. If there is none, check again periodically. Blocks."""
        with self._lock:
            found, due = self._found, time.monotonic() >= self._due or self._found == _UNKNOWN
        return self.look() if due and not isinstance(found, Engine) else found
