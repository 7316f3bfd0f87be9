# SPDX-License-Identifier: Apache-2.0
"""Whether the container engine answers, known without waiting for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from oscar_fedcloud.launchers.process.container import Engine

_UNKNOWN = "no container engine has answered yet"
_LIFE = 15.0  # s for which an answer counts


class EngineWatch:
    """What is known of the container engine. It is asked again, in a thread, when that has become old."""

    def __init__(self, look: Callable[[], Engine | str]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._found: Engine | str = _UNKNOWN
        self._due = 0.0

    def known(self) -> Engine | str:
        """Return what was found last, without waiting."""
        with self._lock:
            if time.monotonic() >= self._due:
                self._due = time.monotonic() + _LIFE
                threading.Thread(target=self.look, name="container engine", daemon=True).start()
            return self._found

    def look(self) -> Engine | str:
        """Ask now and return what was found. Blocks."""
        found = self._look()
        with self._lock:
            self._found, self._due = found, time.monotonic() + _LIFE
        return found

    def usable(self) -> Engine | str:
        """Return the engine that was found; where there was none, ask again now and then. Blocks."""
        with self._lock:
            found, due = self._found, time.monotonic() >= self._due or self._found == _UNKNOWN
        return self.look() if due and not isinstance(found, Engine) else found
