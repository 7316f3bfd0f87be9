# SPDX-License-Identifier: Apache-2.0
"""The wall clock of one server, which a test shifts while the server runs. Monotonic clocks are left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Clock:
    """A shift in whole seconds, kept in a file that the server reads again and again."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"
        self.shift(0)

    def shift(self, seconds: int) -> None:
        """Set the clock this far from the machine's (a new file by rename: it is never read half-written)."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds}\n", encoding="ascii")
        new.rename(self._file)

    def for_go(self) -> dict[str, str]:
        """Return the environment of a program that ``tools/shifted_clock.py`` was built into."""
        return {"OSCAR_TEST_CLOCK": str(self._file)}

    def for_c(self) -> dict[str, str]:
        """Return the environment of any program that asks the C library for the time."""
        library = self._file.with_name("clock_shift.so")
        if not library.exists():
            source = str(Path(__file__).with_name("clock_shift.c"))
            subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), source], check=True)
        return {"LD_PRELOAD": str(library), "OSCAR_TEST_CLOCK": str(self._file)}
