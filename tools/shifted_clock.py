# SPDX-License-Identifier: Apache-2.0
"""Lets a program written in Go be built with a wall clock that tests can shift while it runs.

A preloaded library cannot do that: Go asks the kernel for the time without the C library. So the program is built with
a copy of the standard library's ``time.go`` (``go build -overlay``) whose ``Now`` adds the whole seconds that stand in
the file named by ``$OSCAR_TEST_CLOCK``. Only the wall clock is shifted, as when a machine's clock is corrected; timers
are not.
"""

from __future__ import annotations

import json
from pathlib import Path

_NOW = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
_SHIFTED = _NOW + "\tsec += shiftSeconds.Load()\n"
_SHIFT = """\
package time

import (
	"sync/atomic"
	"syscall"
)

var shiftSeconds atomic.Int64

// Now is also called where no system call is allowed, so that a goroutine reads the file.
func init() {
	shiftSeconds.Store(readShift())
	go func() {
		for {
			Sleep(100 * Millisecond)
			shiftSeconds.Store(readShift())
		}
	}()
}

func readShift() int64 {
	path, found := syscall.Getenv("OSCAR_TEST_CLOCK")
	if !found {
		return 0
	}
	file, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer syscall.Close(file)
	var text [32]byte
	length, _ := syscall.Read(file, text[:])
	var seconds, sign int64 = 0, 1
	for _, c := range text[:max(0, length)] {
		switch {
		case c == '-':
			sign = -1
		case '0' <= c && c <= '9':
			seconds = seconds*10 + int64(c-'0')
		}
	}
	return sign * seconds
}
"""


def make_overlay(goroot: Path, folder: Path) -> Path:
    """Write the overlay for this Go installation into a folder; return the file for ``-overlay``.

    Raise ValueError if ``time.Now`` of this Go is not the one that is known here.
    """
    original = goroot / "src/time/time.go"
    source = original.read_text(encoding="utf-8")
    if source.count(_NOW) != 1:
        raise ValueError(f"{original} has another time.Now than expected: adapt {Path(__file__).name}")
    (folder / "time.go").write_text(source.replace(_NOW, _SHIFTED), encoding="utf-8")
    (folder / "clock_shift.go").write_text(_SHIFT, encoding="utf-8")
    replaced = {original: folder / "time.go", original.with_name("clock_shift.go"): folder / "clock_shift.go"}
    overlay = folder / "overlay.json"
    overlay.write_text(json.dumps({"Replace": {str(old): str(new) for old, new in replaced.items()}}), encoding="utf-8")
    return overlay
