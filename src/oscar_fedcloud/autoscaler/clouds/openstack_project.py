# SPDX-License-Identifier: Apache-2.0
"""One project of an OpenStack cloud, through openstacksdk. All calls block; ``openstack.py`` runs them in threads."""

from __future__ import annotations

import base64
import contextlib
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

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
from oscar_fedcloud.autoscaler.clouds.quota import Quota, headroom_in

_CLUSTER, _POOL = "oscar-cluster", "oscar-pool"  # metadata of the autoscaler's servers

_STATES: Mapping[str, MachineState] = {
    "BUILD": "creating",
    "ERROR": "failed",
    "SHUTOFF": "stopped",
    "SUSPENDED": "stopped",
    "PAUSED": "stopped",
    "SHELVED": "stopped",
    "SHELVED_OFFLOADED": "stopped",
    "DELETED": "deleting",
    "SOFT_DELETED": "deleting",
}  # all others, such as REBOOT and MIGRATING, are transitions from running to running


class BootVolume(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """A root disk in Cinder, deleted with its server."""

    size: int  # GiB
    type: str = ""


class OpenStackTemplate(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """Servers of one kind. Resources are given by name or id."""

    image: str
    flavor: str
    networks: tuple[str, ...]  # the node's own first
    security_groups: tuple[str, ...] = ("default",)
    key_name: str = ""
    server_group: str = ""  # for (anti-)affinity of hypervisors
    availability_zone: str = ""
    boot_volume: BootVolume | None = None
    config_drive: bool = False  # for networks without a metadata service
    metadata: dict[str, str] = {}

    def problems(self) -> list[str]:
        """Return the problems of this template, one sentence each."""
        found = []
        if not self.networks:
            found.append("template.networks is empty, it must name a network")
        if self.boot_volume and self.boot_volume.size < 1:
            found.append(f"template.boot_volume.size is {self.boot_volume.size}, it must be at least 1 GiB")
        return found


class Project:
    """A connection with its credentials, and the resolved names of templates."""

    def __init__(self, cloud: str, cluster: str, options: Mapping[str, Any]) -> None:
        try:
            import openstack  # heavy, and needed by this cloud only
        except ImportError as error:
            raise CloudError(f"{cloud}: openstacksdk is not installed: install oscar-fedcloud[openstack]") from error
        logging.getLogger("keystoneauth").setLevel(logging.INFO)  # at DEBUG it logs user data
        self._cloud = cloud
        self._cluster = cluster
        self._conn = openstack.connect(
            load_yaml_config=False, load_envvars=False, app_name="oscar-autoscaler", **options
        )
        self._resolved: dict[bytes, Mapping[str, Any]] = {}  # by template in JSON

    def close(self) -> None:
        """Close all connections."""
        self._conn.close()

    def log_in(self) -> None:
        """Log in. Raises CloudError if the credentials are wrong."""
        with self._errors("log in"):
            self._conn.authorize()

    def machines(self) -> list[CloudMachine]:
        """Return the servers of this cluster. Nova filters by name; the metadata decides."""
        with self._errors("list servers"):
            found = list(self._conn.compute.servers(name=f"^{self._cluster}-"))
        return [self._machine(server) for server in found if (server.metadata or {}).get(_CLUSTER) == self._cluster]

    def create(self, request: MachineRequest, template: OpenStackTemplate) -> None:
        """Request a server."""
        attributes = {
            **self.resolve(template),
            "name": request.name,
            "metadata": {**template.metadata, _CLUSTER: self._cluster, _POOL: request.pool},
            "user_data": base64.b64encode(request.user_data.encode()).decode(),
        }
        with self._errors(f"create server {request.name}"):
            self._conn.compute.create_server(**attributes)

    def delete(self, server_id: str) -> None:
        """Delete a server if it still exists."""
        with self._errors(f"delete server {server_id}"):
            self._conn.compute.delete_server(server_id, ignore_missing=True)

    def stop(self, server_id: str) -> None:
        """Stop a server and keep its disk."""
        with self._errors(f"stop server {server_id}"):
            self._conn.compute.stop_server(server_id)

    def start(self, server_id: str) -> None:
        """Start a server."""
        with self._errors(f"start server {server_id}"):
            self._conn.compute.start_server(server_id)

    def headroom(self, template: OpenStackTemplate) -> Headroom:
        """Return how many servers the limits allow."""
        with self._errors("read the limits"):
            flavor = self._flavor(template.flavor)
            nova = self._conn.compute.get_limits().absolute
            quotas = {
                "instances": Quota(nova.instances_used, nova.instances),
                "cores": Quota(nova.total_cores_used, nova.total_cores),
                "ram": Quota(nova.total_ram_used, nova.total_ram),
            }
            machine = {"instances": 1.0, "cores": flavor.vcpus, "ram": flavor.ram}
            if template.boot_volume:
                cinder = self._conn.block_storage.get_limits().absolute
                quotas["volumes"] = Quota(cinder.total_volumes_used, cinder.max_total_volumes)
                quotas["gigabytes"] = Quota(cinder.total_gigabytes_used, cinder.max_total_volume_gigabytes)
                machine |= {"volumes": 1.0, "gigabytes": template.boot_volume.size}
        return headroom_in(quotas, machine)

    def resolve(self, template: OpenStackTemplate) -> Mapping[str, Any]:
        """Return the part of a request common to all servers of a template, with names resolved to ids, cached."""
        key = msgspec.json.encode(template)
        if key not in self._resolved:
            with self._errors("look up what the template names"):
                self._resolved[key] = self._attributes(template)
        return self._resolved[key]

    def _attributes(self, template: OpenStackTemplate) -> dict[str, Any]:
        image = self._find("image", template.image, self._conn.image.find_image)
        attributes: dict[str, Any] = {
            "flavor_id": self._flavor(template.flavor).id,
            "networks": [
                {"uuid": self._find("network", name, self._conn.network.find_network).id} for name in template.networks
            ],
            "security_groups": [
                {"name": self._find("security group", name, self._conn.network.find_security_group).id}
                for name in template.security_groups
            ],
        }
        if template.boot_volume:
            attributes["block_device_mapping"] = [_boot_disk(image.id, template.boot_volume)]
        else:
            attributes["image_id"] = image.id
        if template.server_group:
            group = self._find("server group", template.server_group, self._conn.compute.find_server_group)
            attributes["scheduler_hints"] = {"group": group.id}
        for name in ("key_name", "availability_zone", "config_drive"):
            if value := getattr(template, name):
                attributes[name] = value
        return attributes

    def _flavor(self, name: str) -> Any:
        return self._find("flavor", name, self._conn.compute.find_flavor)

    def _find(self, kind: str, name: str, find: Any) -> Any:
        from openstack.exceptions import NotFoundException

        try:
            return find(name, ignore_missing=False)
        except NotFoundException as error:
            raise CloudError(f"{self._cloud}: there is no {kind} {name!r} in this project") from error

    def _machine(self, server: Any) -> CloudMachine:
        deleting = server.task_state == "deleting"
        return CloudMachine(
            id=server.id,
            name=server.name,
            pool=server.metadata.get(_POOL, ""),
            state="deleting" if deleting else _STATES.get(server.status, "running"),
            provider_id=provider_id(self._cluster, server.name),
            address=_address(server.addresses or {}),
            reason=reason((server.fault or {}).get("message", "")),
            created=_seconds(server.created_at),
        )

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """Translate the SDK's exceptions."""
        from keystoneauth1 import exceptions as keystone
        from openstack import exceptions as sdk

        try:
            yield
        except keystone.HttpError as error:
            raise self._meaning(what, error.http_status, error.message or str(error)) from error
        except keystone.ClientException as error:
            raise CloudUnavailable(f"{self._cloud}: {what}: {reason(str(error))}") from error
        except sdk.HttpException as error:
            raise self._meaning(what, error.status_code or 0, error.details or error.message) from error
        except sdk.SDKException as error:
            raise CloudUnavailable(f"{self._cloud}: {what}: {reason(str(error))}") from error

    def _meaning(self, what: str, status: int, words: str) -> CloudError:
        """Classify an error. An exhausted quota is 403 in Nova, 413 in old versions, and 409 for ports and volumes."""
        text = f"{self._cloud}: {what}: {status} {reason(words)}"
        if status == 413 or (status in (400, 403, 409) and "quota" in words.lower()):
            return NoRoom(text)
        if status == 429 or status >= 500 or status == 0:
            return CloudUnavailable(text)
        return CloudError(text)


def _boot_disk(image_id: str, volume: BootVolume) -> dict[str, Any]:
    disk = {
        "boot_index": 0,
        "uuid": image_id,
        "source_type": "image",
        "destination_type": "volume",
        "volume_size": volume.size,
        "delete_on_termination": True,
    }
    return disk | ({"volume_type": volume.type} if volume.type else {})


def _address(addresses: Mapping[str, Any]) -> str:
    """Return the first fixed address."""
    entries = [entry for network in addresses.values() for entry in network]
    return next((str(entry["addr"]) for entry in entries if entry.get("OS-EXT-IPS:type", "fixed") == "fixed"), "")


def _seconds(text: str | None) -> float:
    """Convert an ISO time of Nova to seconds since the epoch; 0.0 if missing."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0
