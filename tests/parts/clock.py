# SPDX-License-Identifier: Apache-2.0
"""The wall clock of one server, which a test shifts while the server runs. Monotonic clocks are left alone."""

from __future__ import annotations

from pathlib import Path

_LIBRARIES = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)


class Clock:
    """A shift in whole seconds, kept in a file that the server reads again and again."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"
        self.shift(0)

    def shift(self, seconds: int) -> None:
        """Set the clock this far from the machine's (a new file by rename: it is never read half-written)."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n", encoding="ascii")
        new.rename(self._file)

    def for_go(self) -> dict[str, str]:
        """Return the environment of a program that ``tools/shifted_clock.py`` was built into."""
        return {"OSCAR_TEST_CLOCK": str(self._file)}

    def for_c(self) -> dict[str, str]:
        """Return the environment of any other program: libfaketime."""
        return {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


def _library() -> str:
    for path in _LIBRARIES:
        if Path(path).exists():
            return path
    raise FileNotFoundError("libfaketime is missing: apt-get install libfaketime")
