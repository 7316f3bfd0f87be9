# SPDX-License-Identifier: Apache-2.0
"""The data folder of a standalone server: its layout, settings and keys.

One folder contains everything of one server: two folders are two servers, and deleting the folder removes all of it.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from oscar_fedcloud.standalone.edits import merge
from oscar_fedcloud.standalone.embedded_store import (
    LOOPBACK,
    EmbeddedStore,
    becomes_free,
    find_rclone,
    free_port,
    job_path,
)

ADMIN = "oscar"
PORT = 8080
STORE_PORT = 9000
CONTAINER = ("never", "auto", "require")
SITE_STORE = "minio.default"


class ProfileError(Exception):
    """The data folder cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The user's options.

    None keeps the previous value, else the default. Port 0 keeps the previous port if possible, else takes a free one.
    """

    port: int | None = None
    store_port: int | None = None
    container: str | None = None
    max_running: int | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings that a standalone server keeps between starts. ``max_running`` 0 means one job per processor."""

    port: int
    store_port: int
    container: str
    max_running: int = 0

    def agree(self, wanted: Wanted) -> bool:
        """Return whether a server with these settings matches the user's options."""
        mine = asdict(self)
        usual = {"max_running": None}  # here 0 is a value, not a wildcard
        return all(value in (None, usual.get(name, 0), mine[name]) for name, value in asdict(wanted).items())

    def words(self) -> str:
        """Return the settings as text."""
        jobs = f"{self.max_running} jobs at once" if self.max_running else "one job per processor at once"
        return f"port {self.port}, store port {self.store_port}, containers: {self.container}, {jobs}"


def choose(wanted: Wanted, known: Settings | None) -> Settings:
    """Return the settings to start with. Raises ProfileError if a port is in use."""
    settings = Settings(
        port=_choose_port("--port", wanted.port, known.port if known else 0, PORT),
        store_port=_choose_port("--store-port", wanted.store_port, known.store_port if known else 0, STORE_PORT),
        container=wanted.container or (known.container if known else CONTAINER[0]),
        max_running=wanted.max_running if wanted.max_running is not None else (known.max_running if known else 0),
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
    """Return ``oscar-standalone`` in the user's data directory (XDG_DATA_HOME, else ``~/.local/share``)."""
    try:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    except RuntimeError:
        raise ProfileError("the home directory is unknown: give a folder with --data, or set HOME") from None
    return Path(base) / "oscar-standalone"


class DataDir:
    """The files of one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = _expanded(folder).absolute()
        self.store_folder = self.folder / "store"
        self.invoker_folder = self.folder / "invoker"
        self.config_file = self.folder / "config.yml"
        self.generated_file = self.folder / "config.generated.yml"  # config.yml before its user edited it
        self.settings_file = self.folder / "settings.json"
        self.state_file = self.folder / "state.json"
        self.lock_file = self.folder / "lock"
        self.start_lock_file = self.folder / "start.lock"
        self.password_file = self.folder / "secrets" / "admin-password"
        self.access_key_file = self.folder / "secrets" / "store-access-key"
        self.secret_key_file = self.folder / "secrets" / "store-secret-key"

    def log_file(self, part: str) -> Path:
        """Return the path of the log of ``supervisor``, ``store`` or ``invoker``."""
        return self.folder / "logs" / f"{part}.log"

    def settings(self) -> Settings | None:
        """Return the stored settings, or None in a new folder. Raises ProfileError."""
        data = read_json(self.settings_file)
        try:
            return None if data is None else Settings(**data)
        except TypeError as error:
            raise ProfileError(f"{self.settings_file} holds other settings than this version knows: {error}") from error

    def create(self) -> None:
        """Create the folder unless it exists. Raises ProfileError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ProfileError(f"data folder {self.folder} cannot be made: {error.strerror}") from error

    def prepare(self, wanted: Wanted) -> Settings:
        """Create or complete the folder, its settings and the invoker's configuration.

        Nothing is created before the settings are known to be valid. The user's edits of the configuration are kept.
        Raises ProfileError, EmbeddedStoreError.
        """
        settings = self.plan(wanted)
        self.create()
        try:
            for part in (self.store_folder, self.invoker_folder, self.password_file.parent, self.log_file("").parent):
                part.mkdir(mode=0o700, exist_ok=True)
            for secret in (self.password_file, self.access_key_file, self.secret_key_file):
                if not secret.exists():
                    write_private(secret, secrets.token_hex(20) + "\n")
            self._write_configuration(self.configuration(settings))
            write_private(self.settings_file, json.dumps(asdict(settings), indent=2) + "\n")
        except OSError as error:
            raise ProfileError(f"data folder {self.folder} cannot be used: {error.strerror}") from error
        return settings

    def plan(self, wanted: Wanted) -> Settings:
        """Return the settings to start with; nothing is written. Raises ProfileError, EmbeddedStoreError."""
        find_rclone()
        return choose(wanted, self.remembered())

    def remembered(self) -> Settings | None:
        """Return the settings of the last start, with the user's later edits of the configuration."""
        known = self.settings()
        if known is None:
            return None
        edited = read_yaml(self.config_file)
        launcher, stores = _member(edited, "launcher"), _member(edited, "providers")
        container, running = launcher.get("container"), launcher.get("max_running")
        return Settings(
            port=_port_of(edited.get("listen"), known.port),
            store_port=_port_of(_member(stores, SITE_STORE).get("endpoint"), known.store_port),
            container=container if container in CONTAINER else known.container,
            max_running=running if isinstance(running, int) and running >= 0 else known.max_running,
        )

    def _write_configuration(self, fresh: dict[str, Any]) -> None:
        """Write the configuration; a file that needs no change is not touched, so that comments are kept."""
        edited, generated = read_yaml(self.config_file), read_yaml(self.generated_file)
        wanted = merge(generated, edited, fresh) if edited and generated else fresh
        if wanted != edited:
            write_private(self.config_file, yaml.safe_dump(wanted, sort_keys=False))
        if fresh != generated:
            write_private(self.generated_file, yaml.safe_dump(fresh, sort_keys=False))

    def store(self, settings: Settings) -> EmbeddedStore:
        """Return the embedded store of this folder. Raises EmbeddedStoreError."""
        return EmbeddedStore(
            rclone=find_rclone(),
            folder=self.store_folder,
            port=settings.store_port,
            access_key=self.access_key_file.read_text(encoding="ascii").strip(),
            secret_key=self.secret_key_file.read_text(encoding="ascii").strip(),
        )

    def configuration(self, settings: Settings) -> dict[str, Any]:
        """Return the invoker's configuration."""
        store = self.store(settings)
        return {
            "data_dir": str(self.invoker_folder),
            "listen": f"{LOOPBACK}:{settings.port}",
            "admin_user": ADMIN,
            "admin_password_file": str(self.password_file),
            "providers": {
                SITE_STORE: {
                    "type": "folder",
                    "endpoint": store.endpoint,
                    "access_key": store.access_key,
                    "secret_key_file": str(self.secret_key_file),
                    "root": str(self.store_folder),
                    "settle": 10.0,  # s without a change until a file written into the folder is processed
                    "shared_key": True,  # one machine, one user
                }
            },
            "callback_networks": ["127.0.0.0/8", "::1/128"],  # programs on this machine
            "launcher": {
                "type": "process",
                "container": settings.container,
                "max_running": settings.max_running,
                "rclone": str(store.rclone),
                "path": list(job_path()),
            },
        }


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, or None if it does not exist. Raises ProfileError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"{path} is damaged: {error}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, empty if the file does not exist. Raises ProfileError."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ProfileError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ProfileError(f"{path} holds no mapping: mend it, or remove it to have it made again")
    return found


def _member(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _port_of(address: Any, otherwise: int) -> int:
    """Return the port of an address or URL."""
    port = str(address or "").rstrip("/").rpartition(":")[2]
    return int(port) if port.isascii() and port.isdigit() and 0 < int(port) < 65536 else otherwise


def _expanded(folder: Path) -> Path:
    try:
        return folder.expanduser()
    except RuntimeError:
        raise ProfileError(f"data folder {folder}: the home directory is unknown") from None


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, atomically."""
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
