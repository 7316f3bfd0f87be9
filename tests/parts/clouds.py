# SPDX-License-Identifier: Apache-2.0
"""Places that machines come from, each behind the same handles, so that one contract test passes over all of them."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parts.im import ImServer
from parts.openstack import CloudState, OpenStack

FRONT_END = """
network private ()
system front_end (
  cpu.count >= 1 and memory.size >= 1024m and
  net_interface.0.connection = 'private' and net_interface.0.dns_name = 'front' and
  disk.0.os.name = 'linux' and disk.0.image.url = 'mock0://linux.for.ev.er/image1' and
  disk.0.os.credentials.username = 'user' and disk.0.os.credentials.password = 'pass'
)
contextualize ()
deploy front_end 1
"""


class Place(ABC):
    """One cloud as its operator sees it: what it really has, and what goes wrong with it.

    others: machines in it that are not ours. tells_room: whether it tells its quota.
    """

    template: Mapping[str, Any]
    wrong_template: Mapping[str, Any] | None
    others: frozenset[str] = frozenset()
    tells_room = True

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What stands in the configuration."""

    @abstractmethod
    def reset(self) -> None:
        """Empty, in order, with much room; machines boot at once."""

    @abstractmethod
    def set(self, *, boot: float | None = None, capacity: int | None = None) -> None:
        """Seconds until a machine runs; how many of ours there is room for."""

    @abstractmethod
    def names(self) -> list[str]:
        """The cloud's own list, sorted, without ``others``."""

    @abstractmethod
    def user_data(self, name: str) -> str:
        """With what a machine was created."""

    @abstractmethod
    def asked(self) -> int:
        """How many machines it was asked for since ever."""

    @abstractmethod
    def away(self) -> contextlib.AbstractContextManager[None]:
        """It does not answer."""

    @abstractmethod
    def deaf(self) -> contextlib.AbstractContextManager[None]:
        """It creates what it is asked for, but the answer gets lost."""

    @abstractmethod
    def close(self) -> None:
        """Stop everything."""


class CommandPlace(Place):
    """Three executables over a folder."""

    template: Mapping[str, Any] = {"anything": ["goes"]}
    wrong_template = None
    tells_room = False

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="oscar-command-"))
        self.timeout = 30.0
        self.reset()

    def settings(self) -> dict[str, Any]:
        script = str(Path(__file__).with_name("command_cloud.py"))
        verbs = {verb: [sys.executable, "-I", script, str(self.folder), verb] for verb in ("add", "list", "remove")}
        return {"type": "command", "timeout": self.timeout, **verbs}

    def reset(self) -> None:
        shutil.rmtree(self.folder / "vms", ignore_errors=True)
        (self.folder / "vms").mkdir()
        self._behave(boot=0.0, capacity=1000, lost=False, away=False)

    def set(self, *, boot: float | None = None, capacity: int | None = None) -> None:
        self._behave(**{k: v for k, v in {"boot": boot, "capacity": capacity}.items() if v is not None})

    def names(self) -> list[str]:
        return sorted(record["name"] for record in self._records())

    def user_data(self, name: str) -> str:
        return next(str(record["user_data"]) for record in self._records() if record["name"] == name)

    def asked(self) -> int:
        file = self.folder / "launched"
        return len(file.read_text().splitlines()) if file.exists() else 0

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        self._behave(away=True)
        yield
        self._behave(away=False)

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        self._behave(lost=True)
        self.timeout = 2.0
        yield
        self.timeout = 30.0
        self._behave(lost=False)

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _records(self) -> list[dict[str, Any]]:
        found = []
        for file in (self.folder / "vms").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):  # it has just been removed
                found.append(json.loads(file.read_text()))
        return found

    def _behave(self, **changes: Any) -> None:
        file = self.folder / "cloud.json"
        before = json.loads(file.read_text()) if file.exists() else {}
        file.with_suffix(".new").write_text(json.dumps(before | changes))
        file.with_suffix(".new").replace(file)


class ImPlace(Place):
    """The real Infrastructure Manager with its Dummy cloud; an infrastructure with a front end."""

    template: Mapping[str, Any] = {"image": "mock0://linux.for.ev.er/image1", "cloud": "dummy"}
    wrong_template: Mapping[str, Any] = {"image": "mock0://linux.for.ev.er/image1", "flavour": "m1"}
    others = frozenset({"front"})

    def __init__(self) -> None:
        self.im = ImServer().start()
        self.infrastructure = ""
        self.timeout = 60.0

    def settings(self) -> dict[str, Any]:
        return {
            "type": "im",
            "url": self.im.url,
            "infrastructure": self.infrastructure,
            "auth_file": str(self.im.auth_file),
            "settle": 3.0,
            "change_timeout": self.timeout,
        }

    def reset(self) -> None:
        for file in (self.im.folder / "vms").glob("*.json"):
            file.unlink()
        self.im.set(boot=0.0, capacity=1000, delay=0.0)
        self.infrastructure = self.im.create(FRONT_END)

    def set(self, *, boot: float | None = None, capacity: int | None = None) -> None:
        self.im.set(boot=boot, capacity=None if capacity is None else capacity + len(self.others))

    def names(self) -> list[str]:
        return [name for name, _ in self.im.cloud_vms() if name not in self.others]

    def user_data(self, name: str) -> str:
        return dict(self.im.cloud_vms())[name]

    def asked(self) -> int:
        return self.im.launched()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        self.im.stop()
        yield
        self.im.start()

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """IM takes longer than we wait, and goes on."""
        self.timeout = 0.5
        self.im.set(delay=0.4)
        yield
        self.timeout = 60.0

    def close(self) -> None:
        self.im.close()


class OpenStackPlace(Place):
    """The stand-in for an OpenStack cloud, with a server of somebody else in the project."""

    template: Mapping[str, Any] = {
        "image": "debian-12",
        "flavor": "m1.small",
        "networks": ["private"],
        "security_groups": ["workers"],
        "server_group": "apart",
    }
    wrong_template: Mapping[str, Any] = {"image": "debian-12", "flavor": "m1.small", "networks": []}

    def __init__(self) -> None:
        self.cloud = OpenStack().start()
        self.folder = Path(tempfile.mkdtemp(prefix="oscar-openstack-"))
        self.secret = self.folder / "secret"

    def settings(self) -> dict[str, Any]:
        return {
            "type": "openstack",
            "auth_url": self.cloud.auth_url,
            "application_credential_id": self.cloud.state.credential[0],
            "application_credential_secret_file": str(self.secret),
        }

    def reset(self) -> None:
        self.cloud.state = CloudState()
        self.secret.write_text(self.cloud.state.credential[1])

    def set(self, *, boot: float | None = None, capacity: int | None = None) -> None:
        if boot is not None:
            self.cloud.state.boot = boot
        if capacity is not None:
            self.cloud.state.capacity = capacity

    def names(self) -> list[str]:
        return sorted(s.name for s in self.cloud.state.servers.values() if s.deleted_at is None)

    def user_data(self, name: str) -> str:
        return next(s.user_data for s in self.cloud.state.servers.values() if s.name == name)

    def asked(self) -> int:
        return len(self.cloud.state.posts)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        self.cloud.stop()
        yield
        self.cloud.start()

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        self.cloud.state.lost = True
        yield
        self.cloud.state.lost = False

    def close(self) -> None:
        self.cloud.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


PLACES: Mapping[str, type[Place]] = {"command": CommandPlace, "im": ImPlace, "openstack": OpenStackPlace}
