# SPDX-License-Identifier: Apache-2.0
"""The cloud ``command``: three executables provide machines, for places without a cloud implementation of their own.

Each runs without a shell, reads one JSON document from standard input and prints one to standard output::

    add     {"cluster": …, "machines": [{"name": …, "pool": …, "template": {…}, "user_data": "#cloud-config …"}]}
            → nothing, or {"refused": {NAME: "why"}} if some of them were not accepted
    list    {"cluster": …}
            → {"machines": [{"id": …, "name": …, "pool": …, "state": STATE}]}, where STATE is creating, running,
              stopped, failed or deleting; more fields, all optional: provider_id, address, reason, created (s since
              the epoch)
    remove  {"cluster": …, "ids": [ID, …]}
            → nothing; an unknown id is no error

``add`` returns when the requests are accepted, not when the machines run; from then on ``list`` shows them. It creates
nothing for an existing name, because it is called again if the outcome of a request is unknown. ``template`` is the
pool's template from the configuration.

The executables get the daemon's environment without the variables that systemd sets for the daemon itself, such as
the folder of its credentials. ``secret_files`` names the credentials that they need: each variable holds the path of a
file.

Exit statuses: 0 means done; 65 (EX_DATAERR) means refused, nothing was done; 75 (EX_TEMPFAIL) means no capacity now,
nothing was done. With any other status, a signal, a timeout or unexpected output the outcome is unknown. The last line
of standard error is the reason for people.
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

# Set by systemd for the daemon alone: its credentials, sockets and service notifications.
_OF_THE_DAEMON = ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_", "JOURNAL_STREAM", "INVOCATION_ID")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFUSED, _NO_ROOM = 65, 75


class CommandConfig(
    msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, tag_field="type", tag="command"
):
    """Three programs, each with its arguments."""

    add: tuple[str, ...]
    list: tuple[str, ...]
    remove: tuple[str, ...]
    timeout: float = 120.0  # s that one call may take
    # variable -> path of a file; a relative path names a credential that systemd passes to the daemon
    secret_files: dict[str, str] = {}

    def problems(self) -> Sequence[str]:
        """Return the problems of these settings, one sentence each."""
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
        """Create the cloud."""
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
    """Runs the executables that the module's documentation describes."""

    can_stop = False

    def __init__(self, name: str, config: CommandConfig, cluster: str) -> None:
        self.name = name
        self._config = config
        self._cluster = cluster

    def check(self, template: Mapping[str, Any]) -> list[str]:
        """Accept anything that JSON can represent. The executables interpret it."""
        try:
            msgspec.json.encode(template)
        except (TypeError, ValueError) as error:
            return [f"template cannot be written as JSON: {error}"]
        return []

    async def open(self) -> None:
        """List the machines once, to check that the program runs."""
        try:
            await self.machines()
        except CloudUnavailable as error:
            raise CloudError(str(error)) from error

    async def close(self) -> None:
        """Do nothing: no state is kept between calls."""

    async def machines(self) -> list[CloudMachine]:
        """Return what ``list`` prints."""
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
        """Call ``add`` once for all of them."""
        machines = [
            {"name": each.name, "pool": each.pool, "template": each.template, "user_data": each.user_data}
            for each in requests
        ]
        output = await self._call("add", {"machines": machines})
        refused = self._read(output.strip() or b"{}", _Added, "add").refused
        return {name: reason(why) for name, why in refused.items()}

    async def delete(self, ids: Collection[str]) -> None:
        """Call ``remove`` once for all of them."""
        if ids:
            await self._call("remove", {"ids": sorted(ids)})

    async def stop(self, ids: Collection[str]) -> None:
        """Raise CloudError: not supported."""
        raise CloudError(f"{self.name}: machines of a command cannot be stopped, only removed")

    async def start(self, ids: Collection[str]) -> None:
        """Raise CloudError: not supported."""
        raise CloudError(f"{self.name}: machines of a command cannot be stopped and started")

    async def headroom(self, template: Mapping[str, Any]) -> Headroom:
        """Return that it is unknown: ``add`` reports missing capacity."""
        return Headroom(None)

    def expires(self) -> float | None:
        """Return None: the executables manage their own credentials."""
        return None

    def _read(self, output: bytes, kind: type[T], verb: str) -> T:
        try:
            return msgspec.json.decode(output, type=kind)
        except msgspec.DecodeError as error:
            raise CloudUnavailable(f"{self.name}: the output of {verb} cannot be used: {error}") from error

    async def _call(self, verb: str, request: Mapping[str, Any]) -> bytes:
        """Run one executable and return its output. Raises CloudError according to the exit status."""
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
    """Return the programs' environment: the daemon's without its private variables, and the paths of secrets."""
    kept = {name: value for name, value in daemon.items() if not name.startswith(_OF_THE_DAEMON)}
    credentials = daemon.get("CREDENTIALS_DIRECTORY", "")
    return kept | {name: os.path.join(credentials, path) for name, path in secret_files.items()}


async def _run(
    command: Sequence[str], document: bytes, environment: Mapping[str, str], limit: float
) -> tuple[int, bytes, bytes]:
    """Return exit status, output and errors. On timeout, the program and all its children are killed."""
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
