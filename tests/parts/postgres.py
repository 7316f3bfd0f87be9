# SPDX-License-Identifier: Apache-2.0
"""A real PostgreSQL server of one's own, on a socket in a temporary folder, with every safety (fsync) on."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

_DEBIAN = Path("/usr/lib/postgresql")


def postgres_programs() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``: that of the newest version that Debian installed, else on PATH."""
    folders = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = folders[-1] if folders else shutil.which("initdb")
    return Path(found).parent if found else None


def _other_user() -> str | None:
    """The server refuses to run as root: who it runs as then."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class PostgresServer:
    """``start`` and ``stop`` may be called again and again; data and address stay.

    As a context manager it starts the server, and removes it with its data at the end. Without the programs:
    FileNotFoundError.
    """

    def __init__(self) -> None:
        programs = postgres_programs()
        if programs is None:
            raise FileNotFoundError(f"PostgreSQL's initdb was found neither below {_DEBIAN} nor on PATH")
        self._programs = programs
        self._user = _other_user()
        self.folder = Path(tempfile.mkdtemp(prefix="oscar-pg-"))
        self.data = self.folder / "data"
        if self._user:
            shutil.chown(self.folder, self._user)

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database ``postgres``."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://oscar@/{database}?host={self.folder}"

    def create_database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        self._run("createdb", "-h", str(self.folder), "-U", "oscar", name)
        return self.url_of(name)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        if not self.data.exists():
            self._run("initdb", "-D", str(self.data), "-U", "oscar", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        options = f"-c listen_addresses='' -k {self.folder}"
        self._run("pg_ctl", "-D", str(self.data), "-l", str(self.folder / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server if it runs. mode: ``immediate`` ends it like a loss of power."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def remove(self) -> None:
        """Stop the server and remove its data."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if self._user:
            command = ["runuser", "-u", self._user, "--", *command]
        # To a file: a pipe would stay open as long as the server that pg_ctl leaves behind.
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, cwd="/", check=False
            )
            output.seek(0)
            if result.returncode:
                raise RuntimeError(f"{program} failed ({result.returncode}): {output.read().decode(errors='replace')}")
