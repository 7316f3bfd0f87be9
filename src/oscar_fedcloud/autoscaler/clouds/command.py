# SPDX-License-Identifier: Apache-2.0
"""The cloud ``command``: machines come from three executables, for any place that has no cloud of its own here.

Each is started without a shell, gets one JSON document on standard input and prints one on standard output::

    add     {"cluster": …, "machines": [{"name": …, "pool": …, "template": {…}, "user_data": "#cloud-config …"}]}
            → nothing, or {"refused": {NAME: "why"}} when some of them were not taken up
    list    {"cluster": …}
            → {"machines": [{"id": …, "name": …, "pool": …, "state": STATE}]}, where STATE is creating, running,
              stopped, failed or deleting; more fields, all optional: provider_id, address, reason, created (s since
              the epoch)
    remove  {"cluster": …, "ids": [ID, …]}
            → nothing; an id that is gone is no error

``add`` returns when the requests are taken up, not when machines run, and from then on ``list`` shows them. It creates
nothing for a name that is there already, since it is called again when nobody knows what became of a request.
``template`` is the pool's, as it stands in the configuration.

They get the daemon's environment without what systemd told the daemon itself, such as where its credentials are. A
credential that they need is named in ``secret_files``: the variable holds the path of that file.

The exit status says how it went: 0 done; 65 (EX_DATAERR) refused and nothing was done; 75 (EX_TEMPFAIL) there is no
room for it now and nothing was done. Any other one, a signal, a time-out or output that is not as above means that
nobody knows. The last line of standard error is the reason, for people.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from oscar_fedcloud.autoscaler.clouds.messages import reason
from oscar_fedcloud.autoscaler.clouds.protocol import (
    CloudError,
    CloudMachine,
    CloudUnavailable,
    Headroom,
    MachineRequest,
    MachineState,
    NoRoom,
    provider_id,
)

T = TypeVar("T")

# From systemd for the daemon alone: its credentials, its sockets, its word with the service manager.
_OF_THE_DAEMON = ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "JOURNAL_STREAM", "INVOCATION_ID")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFUSED, _NO_ROOM = 65, 75


class CommandConfig(
    msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, tag_field="type", tag="command"
):
    """Three programs, each with its arguments.

    secret_files: variables for them, each with the path of a file; a relative one is that of a credential which
    systemd hands to the daemon.
    """

    add: tuple[str, ...]
    list: tuple[str, ...]
    remove: tuple[str, ...]
    timeout: float = 120.0  # s that one call may take
    secret_files: dict[str, str] = {}

    def problems(self) -> Sequence[str]:
        """Return what is wrong with it, in sentences."""
        verbs = ("add", "list", "remove")
        found = [f"{verb} is empty, it must be a program" for verb in verbs if not getattr(self, verb)]
        if self.timeout <= 0:
            found.append(f"timeout is {self.timeout}, it must be more than 0 seconds")
        return found + [
            f"secret_files has the name {name!r}, it must be that of a variable, such as CLOUD_KEY"
            for name in self.secret_files
            if not _NAME.fullmatch(name) or name.startswith(_OF_THE_DAEMON)
        ]

    def make(self, name: str, cluster: str) -> CommandCloud:
        """The cloud of this configuration."""
        return CommandCloud(name, self, cluster)


class _Listed(msgspec.Struct, frozen=True):
    id: str
    name: str
    pool: str
    state: MachineState
    provider_id: str = ""
    address: str = ""
    reason: str = ""
    created: float = 0.0


class _Listing(msgspec.Struct, frozen=True):
    machines: list[_Listed]


class _Added(msgspec.Struct, frozen=True):
    refused: dict[str, str] = {}


class CommandCloud:
    """See the module's documentation for what the executables do."""

    can_stop = False

    def __init__(self, name: str, config: CommandConfig, cluster: str) -> None:
        self.name = name
        self._config = config
        self._cluster = cluster

    def check(self, template: Mapping[str, Any]) -> list[str]:
        """Any JSON is right; the executables know what it means."""
        try:
            msgspec.json.encode(template)
        except (TypeError, ValueError) as error:
            return [f"template cannot be written as JSON: {error}"]
        return []

    async def open(self) -> None:
        """Ask for the list once, which shows that the programs are there."""
        try:
            await self.machines()
        except CloudUnavailable as error:
            raise CloudError(str(error)) from error

    async def close(self) -> None:
        """Nothing is kept between calls."""

    async def machines(self) -> list[CloudMachine]:
        """What ``list`` says."""
        listing = self._read(await self._call("list", {}), _Listing, "list")
        return [
            CloudMachine(
                id=each.id,
                name=each.name,
                pool=each.pool,
                state=each.state,
                provider_id=each.provider_id or provider_id(self._cluster, each.name),
                address=each.address,
                reason=reason(each.reason),
                created=each.created,
            )
            for each in listing.machines
        ]

    async def create(self, requests: Sequence[MachineRequest]) -> dict[str, str]:
        """One call of ``add`` for all of them."""
        machines = [
            {"name": each.name, "pool": each.pool, "template": each.template, "user_data": each.user_data}
            for each in requests
        ]
        output = await self._call("add", {"machines": machines})
        refused = self._read(output.strip() or b"{}", _Added, "add").refused
        return {name: reason(why) for name, why in refused.items()}

    async def delete(self, ids: Collection[str]) -> None:
        """One call of ``remove`` for all of them."""
        if ids:
            await self._call("remove", {"ids": sorted(ids)})

    async def stop(self, ids: Collection[str]) -> None:
        """Not to be had here."""
        raise CloudError(f"{self.name}: machines of a command cannot be stopped, only removed")

    async def start(self, ids: Collection[str]) -> None:
        """Not to be had here."""
        raise CloudError(f"{self.name}: machines of a command cannot be stopped and started")

    async def headroom(self, template: Mapping[str, Any]) -> Headroom:
        """Not known beforehand: ``add`` says it."""
        return Headroom(None)

    def expires(self) -> float | None:
        """The executables look after their own credentials."""
        return None

    def _read(self, output: bytes, kind: type[T], verb: str) -> T:
        try:
            return msgspec.json.decode(output, type=kind)
        except msgspec.DecodeError as error:
            raise CloudUnavailable(f"{self.name}: what {verb} prints cannot be used: {error}") from error

    async def _call(self, verb: str, request: Mapping[str, Any]) -> bytes:
        """Run one executable; what it printed. Raises as its exit status says."""
        command = getattr(self._config, verb)
        document = msgspec.json.encode({"cluster": self._cluster, **request})
        try:
            environment = program_environment(os.environ, self._config.secret_files)
            status, output, errors = await _run(command, document, environment, self._config.timeout)
        except TimeoutError as error:
            raise CloudUnavailable(f"{self.name}: {verb} took longer than {self._config.timeout:g} s") from error
        except OSError as error:
            raise CloudUnavailable(f"{self.name}: {verb} cannot be run: {command[0]}: {error.strerror}") from error
        if status == 0:
            return output
        why = reason(errors.decode(errors="replace")) or f"exit status {status}"
        kind = {_REFUSED: CloudError, _NO_ROOM: NoRoom}.get(status, CloudUnavailable)
        raise kind(f"{self.name}: {verb}: {why}")


def program_environment(daemon: Mapping[str, str], secret_files: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the programs: the daemon's without what is the daemon's own, and the files named."""
    kept = {name: value for name, value in daemon.items() if not name.startswith(_OF_THE_DAEMON)}
    credentials = daemon.get("CREDENTIALS_DIRECTORY", "")
    return kept | {name: os.path.join(credentials, path) for name, path in secret_files.items()}


async def _run(
    command: Sequence[str], document: bytes, environment: Mapping[str, str], limit: float
) -> tuple[int, bytes, bytes]:
    """Exit status, output and errors. What takes too long is killed with all that it started."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, start_new_session=True
    )
    try:
        async with asyncio.timeout(limit):
            output, errors = await process.communicate(document)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, output, errors
