# SPDX-License-Identifier: Apache-2.0
"""Progress bars. Nothing is shown if standard error is not a terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import Any

from oscar_fedcloud.cli.oscar.app import is_terminal


class Progress:
    """Bars that several threads advance."""

    def __init__(self, bars: Any = None) -> None:
        self._bars = bars
        self._known: dict[str, Any] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, total: float) -> None:
        """Show a bar."""
        if self._bars is not None:
            with self._lock:
                self._known[name] = self._bars.add_task(name, total=total)

    def advance(self, name: str, by: float = 1) -> None:
        """Advance a bar."""
        if self._bars is not None:
            with self._lock:
                self._bars.advance(self._known[name], by)

    def say(self, name: str, text: str) -> None:
        """Show a short text after a bar."""
        if self._bars is not None:
            with self._lock:
                self._bars.update(self._known[name], words=text)


@contextlib.contextmanager
def progress(in_bytes: bool = False) -> Iterator[Progress]:
    """Show bars until the block ends, if standard error is a terminal."""
    if not is_terminal(sys.stderr):
        yield Progress()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    count = DownloadColumn(binary_units=True) if in_bytes else MofNCompleteColumn()
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        count,
        TimeElapsedColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        yield Progress(_Worded(bars))


class _Worded:
    """Bars with a short text each."""

    def __init__(self, bars: Any) -> None:
        self._bars = bars

    def add_task(self, name: str, total: float) -> Any:
        return self._bars.add_task(name, total=total, words="")

    def advance(self, task: Any, by: float) -> None:
        self._bars.advance(task, by)

    def update(self, task: Any, words: str) -> None:
        self._bars.update(task, words=words)
