# SPDX-License-Identifier: Apache-2.0
"""Commands, messages and files, as all parts of the test site need them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from settings import SITE


class SiteError(Exception):
    """The site cannot be what was asked for. The message is for people."""


def say(message: str) -> None:
    """One line of progress."""
    print(message, flush=True)


def run(*command: str | Path, stdin: str | None = None, **options: object) -> str:
    """Run a command that must succeed and return what it prints."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise SiteError(f"{' '.join(map(str, command[:4]))} ... failed with exit status {done.returncode}:\n{last}")
    return str(done.stdout)


def wait_until(what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return as soon as the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SiteError(f"{what}: not so within {seconds:g} s")
        time.sleep(0.1)


def fingerprint(*parts: str | Path) -> str:
    """A short hash of texts, and of files and folders by their names and contents."""
    digest = hashlib.sha256()
    for part in parts:
        for text in _contents(part):
            digest.update(len(text).to_bytes(8, "big") + text)
    return digest.hexdigest()[:16]


def _contents(part: str | Path) -> Iterable[bytes]:
    if isinstance(part, str):
        yield part.encode()
        return
    for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
        if file.is_file() and file.suffix != ".pyc":
            yield file.name.encode()
            yield file.read_bytes()


def sha256(file: Path) -> str:
    """The checksum of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new folder that takes the target's place when the block ends well, and is gone when it does not."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for left_over in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(left_over)
    made = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        made.chmod(0o755)
        yield made
        if target.exists():
            shutil.rmtree(target)
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder for the duration of the block. What a killed command left there is removed first."""
    folder = SITE / "temporary"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def write(file: Path, text: str, mode: int = 0o644) -> None:
    """Write a whole file, or none, with this mode from the start."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as stream:
        stream.write(text)
    new.chmod(mode)
    new.rename(file)


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Hold a lock, so that two commands do not change the site at once."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another command that is changing the site ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
