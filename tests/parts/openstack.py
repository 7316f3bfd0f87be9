# SPDX-License-Identifier: Apache-2.0
"""A stand-in for an OpenStack cloud on loopback: what the documented APIs of Keystone, Nova, Neutron, Glance and Cinder
say, as far as a client needs it that creates servers (https://docs.openstack.org/api-quick-start/).
"""

from __future__ import annotations

import base64
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from parts.asgi import AsgiServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Handler = Callable[[Request], Awaitable[Response]]

PROJECT = "9f1c0f3ad1f14f5ab4a31ae64b5b1f5e"
IDENTITY_PROVIDER, PROTOCOL = "egi.eu", "openid"


@dataclass
class Server:
    """A VM as Nova has it."""

    id: str
    request: dict[str, Any]
    created: float
    status: str = "BUILD"
    fault: str = ""
    deleted_at: float | None = None

    @property
    def name(self) -> str:
        return str(self.request["name"])

    @property
    def user_data(self) -> str:
        return base64.b64decode(self.request["user_data"]).decode()


@dataclass
class CloudState:
    """What the cloud holds and how it behaves; kept while the server is stopped.

    lost: requests to create servers are carried out, but answered with 504. valid_hosts: servers beyond that end in
    ERROR, as when no hypervisor has room.
    """

    boot: float = 0.0
    deleting: float = 0.0
    capacity: int = 1000
    valid_hosts: int = 1000
    lost: bool = False
    servers: dict[str, Server] = field(default_factory=dict)
    tokens: dict[str, bool] = field(default_factory=dict)  # token -> scoped
    credential: tuple[str, str] = ("cred-id", "cred-secret")
    access_tokens: set[str] = field(default_factory=set)  # of Check-in, that are accepted
    posts: list[dict[str, Any]] = field(default_factory=list)
    logins: int = 0


IMAGES = {"0a2ed7a4-4c1b-4a2b-8c50-000000000001": "debian-12"}
FLAVORS = {"5d1c9c1e-0000-4000-8000-000000000002": ("m1.small", 2, 4096)}
NETWORKS = {"7f3f2b6a-0000-4000-8000-000000000003": "private"}
GROUPS = {"c2a6f2d0-0000-4000-8000-000000000004": "default", "c2a6f2d0-0000-4000-8000-000000000005": "workers"}
SERVER_GROUPS = {"e8a7b3a1-0000-4000-8000-000000000006": "apart"}


class OpenStack(AsgiServer):
    """The stand-in's server; ``stop`` and ``start`` keep the state."""

    def __init__(self) -> None:
        super().__init__(Starlette(routes=self._routes()))
        self.state = CloudState()

    @property
    def auth_url(self) -> str:
        return f"{self.url}/identity/v3"

    def start(self, timeout: float = 20.0) -> OpenStack:
        """Serve."""
        super().start(timeout)
        return self

    def _routes(self) -> list[Route]:
        nova, neutron, glance, cinder = "/compute/v2.1", "/network/v2.0", "/image/v2", f"/volume/v3/{PROJECT}"
        federation = f"/identity/v3/OS-FEDERATION/identity_providers/{IDENTITY_PROVIDER}/protocols/{PROTOCOL}/auth"
        return [
            Route("/identity/v3", self._keystone_version),
            Route("/identity/v3/auth/tokens", self._login, methods=["POST"]),
            Route(federation, self._federated, methods=["GET", "POST"]),
            Route("/compute/v2.1", self._nova_version),
            Route("/compute/v2.1/", self._nova_version),
            Route(f"{nova}/servers", self._guarded(self._create), methods=["POST"]),
            Route(f"{nova}/servers/detail", self._guarded(self._servers)),
            Route(f"{nova}/servers/{{id}}", self._guarded(self._delete), methods=["DELETE"]),
            Route(f"{nova}/servers/{{id}}/action", self._guarded(self._action), methods=["POST"]),
            Route(f"{nova}/limits", self._guarded(self._limits)),
            *self._named(f"{nova}/flavors", "flavor", {i: flavor[0] for i, flavor in FLAVORS.items()}, "/detail"),
            *self._named(f"{nova}/os-server-groups", "server_group", SERVER_GROUPS),
            Route("/network/", _versions("network", "v2.0", "v2.0")),
            *self._named(f"{neutron}/networks", "network", NETWORKS),
            *self._named(f"{neutron}/security-groups", "security_group", GROUPS),
            Route("/image/", _versions("image", "v2.16", "v2")),
            *self._named(f"{glance}/images", "image", IMAGES),
            Route("/volume/v3/", _versions("volume", "v3.0", "v3", "3.70")),
            Route(f"{cinder}/limits", self._guarded(self._volume_limits)),
        ]

    def _named(self, path: str, kind: str, things: dict[str, str], detail: str = "") -> list[Route]:
        """A collection that is listed, filtered by name, and asked by id."""

        async def many(request: Request) -> Response:
            name = request.query_params.get("name")
            found = [self._thing(kind, i) for i in things if name in (None, things[i])]
            return JSONResponse({f"{kind}s": found})

        async def one(request: Request) -> Response:
            wanted = request.path_params["id"]
            if wanted not in things:
                return _error(404, f"{kind} {wanted} could not be found")
            body = self._thing(kind, wanted)
            return JSONResponse(body if kind == "image" else {kind: body})

        return [
            Route(path + detail, self._guarded(many)),
            Route(f"{path}/{{id}}", self._guarded(one)),
        ]

    @staticmethod
    def _thing(kind: str, thing_id: str) -> dict[str, Any]:
        if kind == "flavor":
            name, vcpus, ram = FLAVORS[thing_id]
            return {"id": thing_id, "name": name, "vcpus": vcpus, "ram": ram, "disk": 20}
        names = {"image": IMAGES, "network": NETWORKS, "security_group": GROUPS, "server_group": SERVER_GROUPS}[kind]
        return {"id": thing_id, "name": names[thing_id], "status": "active", "members": [], "policy": "anti-affinity"}

    def _guarded(self, handler: Handler) -> Handler:
        """Only with a token for the project."""

        async def guarded(request: Request) -> Response:
            if not self.state.tokens.get(request.headers.get("X-Auth-Token", "")):
                return _error(401, "The request you have made requires authentication.")
            return await handler(request)

        return guarded

    # Keystone

    async def _keystone_version(self, request: Request) -> Response:
        links = [{"rel": "self", "href": f"{self.auth_url}/"}]
        return JSONResponse({"version": {"id": "v3.14", "status": "stable", "links": links}})

    async def _login(self, request: Request) -> Response:
        auth = (await request.json())["auth"]
        identity = auth["identity"]
        method = identity["methods"][0]
        if method == "application_credential":
            given = identity[method]
            good = (given.get("id"), given.get("secret")) == self.state.credential
        else:
            asked = auth.get("scope", {}).get("project", {}).get("id")
            good = identity["token"]["id"] in self.state.tokens and asked == PROJECT
        return self._token(scoped=True) if good else _error(401, "The request requires authentication.")

    async def _federated(self, request: Request) -> Response:
        access_token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if access_token not in self.state.access_tokens:
            return _error(401, "The request requires authentication.")
        return self._token(scoped=False)

    def _token(self, scoped: bool) -> Response:
        token = uuid.uuid4().hex
        self.state.tokens[token] = scoped
        self.state.logins += scoped
        now = datetime.now(UTC)
        body: dict[str, Any] = {
            "methods": ["token"],
            "issued_at": now.isoformat(),
            "expires_at": (now + timedelta(hours=1)).isoformat(),
            "user": {"id": "u", "name": "robot", "domain": {"id": "default", "name": "Default"}},
        }
        if scoped:
            body["project"] = {"id": PROJECT, "name": "oscar", "domain": {"id": "default", "name": "Default"}}
            body["catalog"] = [
                self._service("compute", "nova", "/compute/v2.1"),
                self._service("network", "neutron", "/network"),
                self._service("image", "glance", "/image"),
                self._service("block-storage", "cinder", f"/volume/v3/{PROJECT}"),
            ]
        return JSONResponse({"token": body}, status_code=201, headers={"X-Subject-Token": token})

    def _service(self, kind: str, name: str, path: str) -> dict[str, Any]:
        endpoint = {"interface": "public", "region": "r1", "region_id": "r1", "url": self.url + path, "id": name}
        return {"type": kind, "name": name, "id": name, "endpoints": [endpoint]}

    # Nova

    async def _nova_version(self, request: Request) -> Response:
        links = [{"rel": "self", "href": f"{self.url}/compute/v2.1/"}]
        version = {"id": "v2.1", "status": "CURRENT", "version": "2.96", "min_version": "2.1", "links": links}
        return JSONResponse({"version": version})

    async def _create(self, request: Request) -> Response:
        body = await request.json()
        wanted = body["server"]
        self.state.posts.append(body)
        if problem := _problem(wanted):
            return JSONResponse({"badRequest": {"message": problem, "code": 400}}, status_code=400)
        used = len(self._alive())
        if used >= self.state.capacity:
            words = f"Quota exceeded for instances: Requested 1, but already used {used} of {used} instances"
            return JSONResponse({"forbidden": {"message": words, "code": 403}}, status_code=403)
        server = Server(str(uuid.uuid4()), wanted, time.time())
        if used >= self.state.valid_hosts:
            server.status, server.fault = "ERROR", "No valid host was found. There are not enough hosts available."
        self.state.servers[server.id] = server
        if self.state.lost:
            return _error(504, "Gateway Timeout")
        return JSONResponse({"server": {"id": server.id, "links": [], "security_groups": []}}, status_code=202)

    async def _servers(self, request: Request) -> Response:
        pattern = re.compile(request.query_params.get("name", ""))
        return JSONResponse({"servers": [self._view(s) for s in self._alive() if pattern.search(s.name)]})

    def _alive(self) -> list[Server]:
        now = time.time()
        for server in list(self.state.servers.values()):
            if server.deleted_at is not None and now >= server.deleted_at + self.state.deleting:
                del self.state.servers[server.id]
            elif server.status == "BUILD" and now >= server.created + self.state.boot:
                server.status = "ACTIVE"
        return list(self.state.servers.values())

    def _view(self, server: Server) -> dict[str, Any]:
        number = list(self.state.servers).index(server.id) + 10
        entry = {"addr": f"10.77.1.{number}", "version": 4, "OS-EXT-IPS:type": "fixed"}
        view: dict[str, Any] = {
            "id": server.id,
            "name": server.name,
            "status": server.status,
            "metadata": server.request.get("metadata", {}),
            "addresses": {} if server.status in ("BUILD", "ERROR") else {"private": [entry]},
            "created": datetime.fromtimestamp(server.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "OS-EXT-STS:task_state": "deleting" if server.deleted_at is not None else None,
        }
        if server.fault:
            view["fault"] = {"code": 500, "message": server.fault, "created": view["created"]}
        return view

    async def _delete(self, request: Request) -> Response:
        self._alive()
        server = self.state.servers.get(request.path_params["id"])
        if server is None:
            return JSONResponse({"itemNotFound": {"message": "Instance could not be found.", "code": 404}}, 404)
        server.deleted_at = time.time()
        return Response(status_code=204)

    async def _action(self, request: Request) -> Response:
        server = self.state.servers[request.path_params["id"]]
        action = next(iter(await request.json()))
        before, after = {"os-stop": ("ACTIVE", "SHUTOFF"), "os-start": ("SHUTOFF", "ACTIVE")}[action]
        if server.status != before:
            words = f"Cannot '{action}' instance {server.id} while it is in vm_state {server.status}"
            return JSONResponse({"conflictingRequest": {"message": words, "code": 409}}, status_code=409)
        server.status = after
        return Response(status_code=202)

    async def _limits(self, request: Request) -> Response:
        used = len(self._alive())
        limits = {
            "maxTotalInstances": self.state.capacity,
            "totalInstancesUsed": used,
            "maxTotalCores": -1,
            "totalCoresUsed": 2 * used,
            "maxTotalRAMSize": 4096 * 1000,
            "totalRAMUsed": 4096 * used,
        }
        return JSONResponse({"limits": {"absolute": limits, "rate": []}})

    async def _volume_limits(self, request: Request) -> Response:
        limits = {
            "maxTotalVolumes": 10,
            "totalVolumesUsed": 1,
            "maxTotalVolumeGigabytes": 100,
            "totalGigabytesUsed": 40,
        }
        return JSONResponse({"limits": {"absolute": limits, "rate": []}})


def _problem(server: dict[str, Any]) -> str:
    """What Nova would not accept."""
    for name in ("name", "flavorRef", "networks"):
        if not server.get(name):
            return f"Invalid input for field/attribute server. {name!r} is a required property"
    if not server.get("imageRef") and not server.get("block_device_mapping_v2"):
        return "Invalid imageRef provided."
    if server["flavorRef"] not in FLAVORS or any(n["uuid"] not in NETWORKS for n in server["networks"]):
        return "Flavor or network could not be found."
    try:
        base64.b64decode(server.get("user_data", ""), validate=True)
    except ValueError:
        return "Invalid input for field/attribute user_data. It is not a 'base64'"
    return ""


def _versions(kind: str, version_id: str, path: str, microversion: str = "") -> Handler:
    """Version discovery of a service."""

    async def versions(request: Request) -> Response:
        base = str(request.base_url).rstrip("/")
        entry: dict[str, Any] = {
            "id": version_id,
            "status": "CURRENT",
            "links": [{"rel": "self", "href": f"{base}/{kind}/{path}/"}],
        }
        if microversion:
            entry |= {"version": microversion, "min_version": "3.0"}
        return JSONResponse({"versions": [entry]}, status_code=300 if kind == "image" else 200)

    return versions


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"code": status, "message": message, "title": "Error"}}, status_code=status)
