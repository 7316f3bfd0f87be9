# SPDX-License-Identifier: Apache-2.0
"""What all servers of one process have in common: they start, are stopped or killed, and start again on their data."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

PATIENCE = 20.0  # s that a server may take to end in order


class Server:
    """``start`` sets ``_process``, in a session of its own where there are children. scratch: removed by ``close``."""

    _process: subprocess.Popen[bytes] | None = None
    scratch: Path | None = None

    def start(self) -> Self:
        """Start the server and wait until it serves."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{type(self).__name__} is not running")
        return self._process.pid

    def stop(self) -> None:
        """End the server in order (SIGTERM)."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Stop, and remove what is our own; a folder that was given stays."""
        self.stop()
        if self.scratch:
            shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self, sig: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        _tell(process, sig)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            _tell(process, signal.SIGKILL)
            process.wait()


def _tell(process: subprocess.Popen[bytes], sig: signal.Signals) -> None:
    """Signal a process, with its children where it leads a group."""
    with contextlib.suppress(ProcessLookupError):
        if process.poll() is None and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, sig)
        else:
            process.send_signal(sig)
