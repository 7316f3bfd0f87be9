# SPDX-License-Identifier: Apache-2.0
"""Handling of standard streams for all programs: closed streams, limited encodings, broken pipes."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import TextIO

INTERRUPTED = 128 + signal.SIGINT
# Package -> the extra of this distribution that contains it.
_EXTRAS = {
    "aiohttp": "kubernetes",
    "kubernetes_asyncio": "kubernetes",
    "cronsim": "autoscaler",
    "cryptography": "autoscaler",
    "openstack": "openstack",
    "keystoneauth1": "openstack",
    "grpc": "externalgrpc",
    "google": "externalgrpc",
    "psycopg": "postgresql",
    "PIL": "standalone",
}
READER_LEFT = 128 + signal.SIGPIPE  # exit status that a shell reports for a program killed by SIGPIPE


def guard(program: str, run: Callable[[], int]) -> int:
    """Run a program and return its exit code.

    Ctrl-C, a broken pipe, a full output device and a missing extra end it without a traceback.
    """
    open_closed_streams()
    accept_any_text()
    try:
        code = _exit_code(run)
        _flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = READER_LEFT
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _EXTRAS:
            raise
        extra = _EXTRAS[error.name.partition(".")[0]]
        _complain(f"{program}: {error.name} is not installed: pip install 'oscar-fedcloud[{extra}]'")
        code = 1
    except OSError as error:
        _complain(f"{program}: {describe(error)}")
        code = 1
    else:
        return code
    _discard_output()
    return code


def _exit_code(run: Callable[[], int]) -> int:
    """Return the exit code of ``run``, also if it ends with SystemExit, as argparse does."""
    try:
        return run()
    except SystemExit as end:
        if isinstance(end.code, str):
            _complain(end.code)
            return 1
        return end.code or 0


def describe(error: OSError) -> str:
    """Return the description of an operating system error, with the file that it concerns."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason


def open_closed_streams() -> None:
    """Open /dev/null in place of standard streams that are closed, so that no other file gets their numbers."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # the lowest free number is this one
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = sys.stdout or _null("w")
    sys.stderr = sys.stderr or _null("w")


def _null(mode: str) -> TextIO:
    return open(os.devnull, mode, encoding="utf-8")  # type: ignore[return-value]


def accept_any_text() -> None:
    """Escape characters that the encoding of a stream does not support, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _complain(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _discard_output() -> None:
    """Discard buffered output, about which the interpreter would complain at exit."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                with contextlib.suppress(OSError, ValueError):
                    os.dup2(null, stream.fileno())
        os.close(null)
