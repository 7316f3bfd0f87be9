# SPDX-License-Identifier: Apache-2.0
"""The cloud ``openstack``: Nova servers in one project, through openstacksdk, which runs in threads.

The metadata ``oscar-cluster`` and ``oscar-pool`` identify the autoscaler's servers. Each server has its own user data
and therefore needs its own request; the requests of a batch are sent concurrently. Nova answers when it has accepted a
server, not when it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from oscar_fedcloud.autoscaler.clouds import secrets
from oscar_fedcloud.autoscaler.clouds.oidc import OidcConfig, TokenSource
from oscar_fedcloud.autoscaler.clouds.openstack_project import OpenStackTemplate, Project
from oscar_fedcloud.autoscaler.clouds.protocol import (
    CloudError,
    CloudMachine,
    CloudUnavailable,
    Headroom,
    MachineRequest,
    NoRoom,
)
from oscar_fedcloud.runtime.threads import Threads

T = TypeVar("T")

_AT_ONCE = 8  # concurrent requests to Nova, which limits their rate at many sites


class OpenStackConfig(
    msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, tag_field="type", tag="openstack"
):
    """A project at a site, with an application credential or, if the site has none, EGI Check-in (oidc)."""

    auth_url: str  # Keystone, e.g. https://keystone.example.org:5000/v3
    region: str = ""
    interface: str = "public"
    application_credential_id: str = ""
    application_credential_secret_file: str = ""
    oidc: OidcConfig | None = None
    project_id: str = ""  # with oidc; an application credential has its own
    identity_provider: str = "egi.eu"  # as the site's Keystone calls it
    protocol: str = "openid"
    ca_file: str = ""  # CA bundle for the site; empty means the system's
    timeout: float = 60.0  # s that one request may take

    def problems(self) -> list[str]:
        """Return the problems of these settings, one sentence each."""
        found = []
        if not self.auth_url.startswith(("http://", "https://")):
            found.append(f"auth_url is {self.auth_url!r}, it must be an http URL")
        if bool(self.application_credential_id) == (self.oidc is not None):
            found.append("give either application_credential_id or oidc")
        if self.application_credential_id and not self.application_credential_secret_file:
            found.append("application_credential_secret_file is empty: application_credential_id needs it")
        if self.oidc and not self.project_id:
            found.append("project_id is empty: oidc needs it")
        return found + (self.oidc.problems() if self.oidc else [])

    def make(self, name: str, cluster: str) -> OpenStackCloud:
        """Create the cloud."""
        return OpenStackCloud(name, self, cluster)


class OpenStackCloud:
    """One project. Other servers in it are not touched."""

    can_stop = True

    def __init__(self, name: str, config: OpenStackConfig, cluster: str) -> None:
        self.name = name
        self._config = config
        self._cluster = cluster
        self._tokens = TokenSource(name, config.oidc) if config.oidc else None
        self._threads = Threads(_AT_ONCE, f"openstack-{name}")
        self._project: Project | None = None
        self._secret = ""  # with which the project was opened
        self._opening = asyncio.Lock()

    def check(self, template: Mapping[str, Any]) -> list[str]:
        """Check the template against ``OpenStackTemplate``. Names are resolved when machines are created."""
        try:
            read = msgspec.convert(template, OpenStackTemplate)
        except msgspec.ValidationError as error:
            return [f"template: {error}"]
        return read.problems()

    async def open(self) -> None:
        """Log in."""
        await self._run(Project.log_in)

    async def close(self) -> None:
        """Close all connections."""
        if self._project:
            await self._threads.run(self._project.close)
        self._threads.close()

    def expires(self) -> float | None:
        """Return when the token of Check-in expires."""
        return self._tokens.expires() if self._tokens else None

    async def machines(self) -> list[CloudMachine]:
        """Return the machines, by one request or several if Nova paginates."""
        return await self._run(Project.machines)

    async def create(self, requests: Sequence[MachineRequest]) -> dict[str, str]:
        """Send one request for each machine. Once one finds no capacity, the remaining requests are not sent."""
        there = {machine.name for machine in await self.machines()}
        new = [each for each in requests if each.name not in there]
        if not new:
            return {}
        template = msgspec.convert(new[0].template, OpenStackTemplate)
        await self._run(Project.resolve, template)
        errors: dict[str, CloudError] = {}

        async def one(request: MachineRequest) -> None:
            try:
                full = next((error for error in errors.values() if isinstance(error, NoRoom)), None)
                if full:
                    raise full
                await self._run(Project.create, request, template)
            except CloudError as error:
                errors[request.name] = error

        await _bounded(one, new)
        _raise_if_none_was_made(errors, len(new))
        return {name: str(error) for name, error in errors.items()}

    async def delete(self, ids: Collection[str]) -> None:
        """Delete servers by concurrent requests."""
        await self._each(Project.delete, ids)

    async def stop(self, ids: Collection[str]) -> None:
        """Stop servers by concurrent requests."""
        await self._each(Project.stop, ids)

    async def start(self, ids: Collection[str]) -> None:
        """Start servers by concurrent requests."""
        await self._each(Project.start, ids)

    async def headroom(self, template: Mapping[str, Any]) -> Headroom:
        """Return what the limits of Nova, and of Cinder for boot volumes, allow."""
        return await self._run(Project.headroom, msgspec.convert(template, OpenStackTemplate))

    async def _each(self, call: Callable[[Project, str], None], ids: Collection[str]) -> None:
        """Call it for all servers, then raise the first error."""
        errors: list[CloudError] = []

        async def one(server_id: str) -> None:
            try:
                await self._run(call, server_id)
            except CloudError as error:
                errors.append(error)

        await _bounded(one, sorted(ids))
        if errors:
            raise errors[0]

    async def _run(self, call: Callable[..., T], *args: Any) -> T:
        return await self._threads.run(call, await self._opened(), *args)

    async def _opened(self) -> Project:
        """Return the project, reopened if the secret or token has changed."""
        async with self._opening:
            config = self._config
            if self._tokens:
                secret = await self._tokens.token()
            else:
                secret = secrets.read(config.application_credential_secret_file)
            if self._project is None or secret != self._secret:
                self._project = Project(self.name, self._cluster, self._connect_options(secret))
                self._secret = secret
            return self._project

    def _connect_options(self, secret: str) -> dict[str, Any]:
        config = self._config
        auth = {"auth_url": config.auth_url}
        if config.oidc:
            kind = "v3oidcaccesstoken"
            auth |= {"identity_provider": config.identity_provider, "protocol": config.protocol}
            auth |= {"access_token": secret, "project_id": config.project_id}
        else:
            kind = "v3applicationcredential"
            auth |= {"application_credential_id": config.application_credential_id}
            auth |= {"application_credential_secret": secret}
        return {
            "auth_type": kind,
            "auth": auth,
            "interface": config.interface,
            "region_name": config.region or None,
            "cacert": config.ca_file or None,
            "api_timeout": config.timeout,
        }


async def _bounded(call: Callable[[Any], Any], items: Sequence[Any]) -> None:
    """Call ``call`` for all items with limited concurrency."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(item: Any) -> None:
        async with places:
            await call(item)

    await asyncio.gather(*(one(item) for item in items))


def _raise_if_none_was_made(errors: Mapping[str, CloudError], asked: int) -> None:
    """Raise CloudUnavailable if the outcome of any request is unknown, or the reason if all were refused."""
    for error in errors.values():
        if isinstance(error, CloudUnavailable):
            raise error
    if len(errors) == asked:
        raise next((error for error in errors.values() if isinstance(error, NoRoom)), next(iter(errors.values())))
