# SPDX-License-Identifier: Apache-2.0
"""The data folder of a standalone server: where its parts lie, its settings and its keys.

Everything of one server lies under one folder: two folders are two servers, and deleting the folder removes it all.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from oscar_fedcloud.cli.store import LOOPBACK, Store, becomes_free, find_rclone, free_port, job_path

ADMIN = "oscar"
PORT = 8080
STORE_PORT = 9000
CONTAINER = ("never", "auto", "require")


class ProfileError(Exception):
    """The data folder cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks for. None: as before, else the usual; port 0: as before if possible, else any free port."""

    port: int | None = None
    store_port: int | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a standalone server remembers from one start to the next."""

    port: int
    store_port: int
    container: str

    def agree(self, wanted: Wanted) -> bool:
        """Whether a server with these settings is what the user asks for."""
        mine = asdict(self)
        return all(value in (None, 0, mine[name]) for name, value in asdict(wanted).items())


def choose(wanted: Wanted, known: Settings | None) -> Settings:
    """The settings to start with. Raises ProfileError if a port is in use."""
    settings = Settings(
        port=_choose_port("--port", wanted.port, known.port if known else 0, PORT),
        store_port=_choose_port("--store-port", wanted.store_port, known.store_port if known else 0, STORE_PORT),
        container=wanted.container or (known.container if known else CONTAINER[0]),
    )
    if settings.port == settings.store_port:
        raise ProfileError(f"port and store port are both {settings.port}: they must differ")
    return settings


def _choose_port(option: str, wanted: int | None, known: int, usual: int) -> int:
    port = wanted or known or (usual if wanted is None else free_port())
    if becomes_free(port):
        return port
    if wanted == 0:
        return free_port()
    raise ProfileError(f"port {port} is in use by another program: choose another with {option} (0 = any free one)")


def default_folder() -> Path:
    """``oscar-standalone`` in the user's data directory (XDG_DATA_HOME, else ``~/.local/share``)."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "oscar-standalone"


class Profile:
    """The files of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().absolute()
        self.store_folder = self.folder / "store"
        self.invoker_folder = self.folder / "invoker"
        self.config_file = self.folder / "config.yml"
        self.settings_file = self.folder / "settings.json"
        self.state_file = self.folder / "state.json"
        self.lock_file = self.folder / "lock"
        self.password_file = self.folder / "secrets" / "admin-password"
        self.access_key_file = self.folder / "secrets" / "store-access-key"
        self.secret_key_file = self.folder / "secrets" / "store-secret-key"

    def log_file(self, part: str) -> Path:
        """The log of ``supervisor``, ``store`` or ``invoker``."""
        return self.folder / "logs" / f"{part}.log"

    def settings(self) -> Settings | None:
        """The remembered settings, or None in a new folder. Raises ProfileError."""
        data = read_json(self.settings_file)
        try:
            return None if data is None else Settings(**data)
        except TypeError as error:
            raise ProfileError(f"{self.settings_file} holds other settings than this version knows: {error}") from error

    def create(self) -> None:
        """Make the folder if it is missing. Raises ProfileError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ProfileError(f"data folder {self.folder} cannot be made: {error.strerror}") from error

    def prepare(self, wanted: Wanted) -> Settings:
        """Make or complete the folder, its settings and the invoker's configuration. Raises ProfileError."""
        self.create()
        try:
            for part in (self.store_folder, self.invoker_folder, self.password_file.parent, self.log_file("").parent):
                part.mkdir(mode=0o700, exist_ok=True)
            for secret in (self.password_file, self.access_key_file, self.secret_key_file):
                if not secret.exists():
                    write_private(secret, secrets.token_hex(20) + "\n")
            settings = choose(wanted, self.settings())
            write_private(self.settings_file, json.dumps(asdict(settings), indent=2) + "\n")
            write_private(self.config_file, yaml.safe_dump(self.configuration(settings), sort_keys=False))
        except OSError as error:
            raise ProfileError(f"data folder {self.folder} cannot be used: {error.strerror}") from error
        return settings

    def store(self, settings: Settings) -> Store:
        """The embedded store of this folder. Raises StoreError."""
        return Store(
            rclone=find_rclone(),
            folder=self.store_folder,
            port=settings.store_port,
            access_key=self.access_key_file.read_text(encoding="ascii").strip(),
            secret_key=self.secret_key_file.read_text(encoding="ascii").strip(),
        )

    def configuration(self, settings: Settings) -> dict[str, Any]:
        """The invoker's configuration."""
        store = self.store(settings)
        return {
            "data_dir": str(self.invoker_folder),
            "listen": f"{LOOPBACK}:{settings.port}",
            "admin_user": ADMIN,
            "admin_password_file": str(self.password_file),
            "providers": {
                "minio.default": {
                    "type": "folder",
                    "endpoint": store.endpoint,
                    "access_key": store.access_key,
                    "secret_key_file": str(self.secret_key_file),
                    "root": str(self.store_folder),
                }
            },
            "launcher": {
                "type": "process",
                "container": settings.container,
                "rclone": str(store.rclone),
                "path": list(job_path()),
            },
        }


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if there is no such file. Raises ProfileError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ProfileError(f"{path} cannot be read: {error}") from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; readers see the old content or the new, never a part."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
