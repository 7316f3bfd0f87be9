# SPDX-License-Identifier: Apache-2.0
"""The server for Cluster Autoscaler, called as that calls it: a gRPC client, five seconds, over each of the clouds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from parts.clouds import CommandPlace, ImPlace, Place
from parts.pki import Authority
from parts.ports import free_port
from parts.waiting import eventually_here

from oscar_fedcloud.autoscaler.clouds import build
from oscar_fedcloud.autoscaler.clouds.protocol import Cloud, CloudError, MachineRequest, NoRoom
from oscar_fedcloud.autoscaler.external.protos import externalgrpc_pb2 as messages
from oscar_fedcloud.autoscaler.external.protos import node_pb2
from oscar_fedcloud.autoscaler.external.protos.externalgrpc_pb2_grpc import CloudProviderStub
from oscar_fedcloud.autoscaler.external.server import ExternalConfig, serve
from oscar_fedcloud.autoscaler.external.service import GPU_LABEL
from oscar_fedcloud.autoscaler.model import MachineView, Pool, Taint
from oscar_fedcloud.config import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")

POOLS = (
    Pool(
        name="cpu",
        cloud="site",
        template={},
        capacity={"cpu": 3920, "memory": 8 * 1024**3, "pods": 110},
        labels={"disk": "ssd"},
        taints=(Taint("only", "jobs"),),
        max=3,
        price=0.2,
        idle=120.0,
        startup_timeout=600.0,
    ),
    Pool(name="gpu", cloud="site", template={}, capacity={"cpu": 1000, "nvidia.com/gpu": 2}, labels={GPU_LABEL: "A10"}),
)


class CloudFleet:
    """A fleet over one cloud, with its machines in memory only."""

    cluster = "c1"

    def __init__(self, cloud: Cloud, place: Place) -> None:
        self.cloud = cloud
        self._template = place.template
        self._machines: dict[str, MachineView] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = ""

    def pools(self) -> Sequence[Pool]:
        return POOLS

    def machines(self) -> Mapping[str, MachineView]:
        return dict(self._machines)

    async def launch(self, pool: str, count: int) -> None:
        if self.closed:
            raise NoRoom(self.closed)
        names = [f"c1-{pool}-{len(self._machines) + number:05}" for number in range(count)]
        now = time.time()
        self._machines |= {name: MachineView(name, pool, "asked", now, now) for name in names}
        self._start(self._launch(names, pool))

    async def remove(self, machines: Collection[str]) -> None:
        for name in machines:
            self._machines[name] = replace(self._machines[name], phase="removing")
        self._start(self._remove(set(machines)))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _launch(self, names: list[str], pool: str) -> None:
        try:
            refused = await self.cloud.create(
                [MachineRequest(n, pool, self._template, "#cloud-config\n{}") for n in names]
            )
        except CloudError as error:
            refused = dict.fromkeys(names, str(error))
        for name in names:
            change = {"phase": "failed", "reason": refused[name]} if name in refused else {"phase": "starting"}
            self._machines[name] = replace(self._machines[name], **change)  # type: ignore[arg-type]

    async def _remove(self, names: set[str]) -> None:
        await self.cloud.delete([machine.id for machine in await self.cloud.machines() if machine.name in names])
        for name in names:
            del self._machines[name]

    async def look(self) -> None:
        """Machines that run count as joined."""
        for machine in await self.cloud.machines():
            if machine.state == "running" and self._machines[machine.name].phase == "starting":
                self._machines[machine.name] = replace(self._machines[machine.name], phase="joined")


class Client:
    """Cluster Autoscaler's side: every call has a time limit."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(address)
        self.stub = CloudProviderStub(self.channel)

    async def call(self, method: str, request: Any) -> Any:
        return await getattr(self.stub, method)(request, timeout=5)

    async def size(self, pool: str = "cpu") -> int:
        answer = await self.call("NodeGroupTargetSize", messages.NodeGroupTargetSizeRequest(id=pool))
        return int(answer.targetSize)

    async def increase(self, delta: int, pool: str = "cpu") -> None:
        await self.call("NodeGroupIncreaseSize", messages.NodeGroupIncreaseSizeRequest(id=pool, delta=delta))

    async def decrease(self, delta: int, pool: str = "cpu") -> None:
        await self.call(
            "NodeGroupDecreaseTargetSize", messages.NodeGroupDecreaseTargetSizeRequest(id=pool, delta=delta)
        )

    async def instances(self, pool: str = "cpu") -> dict[str, Any]:
        answer = await self.call("NodeGroupNodes", messages.NodeGroupNodesRequest(id=pool))
        return {instance.id: instance.status for instance in answer.instances}

    async def delete(self, *provider_ids: str, pool: str = "cpu") -> None:
        nodes = [messages.ExternalGrpcNode(providerID=each, name=each) for each in provider_ids]
        await self.call("NodeGroupDeleteNodes", messages.NodeGroupDeleteNodesRequest(id=pool, nodes=nodes))


async def joined(fleet: CloudFleet, client: Client) -> None:
    """Wait until the group's instances run."""
    for _ in range(400):
        await fleet.look()
        states = {status.instanceState for status in (await client.instances()).values()}
        if states == {messages.InstanceStatus.instanceRunning}:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the machines do not run")


@pytest.fixture
async def fleet(place: Place) -> AsyncIterator[CloudFleet]:
    cloud = build("site", "c1", place.settings())
    yield CloudFleet(cloud, place)
    await cloud.close()


@pytest.fixture
async def client(fleet: CloudFleet) -> AsyncIterator[Client]:
    address = f"127.0.0.1:{free_port()}"
    server = await serve(fleet, ExternalConfig(listen=address))
    client = Client(address)
    yield client
    await client.channel.close()
    await server.stop(None)


async def test_a_group_grows_and_shrinks_by_named_nodes(place: Place, fleet: CloudFleet, client: Client) -> None:
    await client.increase(2)
    assert await client.size() == 2
    await eventually_here(lambda: len(place.names()) == 2)
    first, second = sorted(await client.instances())
    assert first.startswith("oscar://c1/c1-cpu-")
    await eventually_here(lambda: all(machine.phase == "starting" for machine in fleet.machines().values()))
    await client.delete(first)
    await eventually_here(lambda: place.names() == [second.rpartition("/")[2]])
    assert await client.size() == 1


async def test_instances_say_how_far_they_are(place: Place, fleet: CloudFleet, client: Client) -> None:
    await client.increase(1)
    (status,) = (await client.instances()).values()
    assert status.instanceState == messages.InstanceStatus.instanceCreating

    await joined(fleet, client)


async def test_what_the_cloud_refuses_is_an_error_of_the_instance(
    place: Place, fleet: CloudFleet, client: Client
) -> None:
    place.set(capacity=0)
    await client.increase(1)
    await eventually_here(lambda: any(machine.phase == "failed" for machine in fleet.machines().values()))
    ((instance, status),) = (await client.instances()).items()
    assert status.instanceState == messages.InstanceStatus.instanceCreating
    assert status.errorInfo.errorCode
    assert "room" in status.errorInfo.errorMessage or "uota" in status.errorInfo.errorMessage
    await client.delete(instance)
    await eventually_here(lambda: not fleet.machines())
    assert await client.size() == 0


async def test_only_machines_that_are_no_nodes_are_given_up(place: Place, fleet: CloudFleet, client: Client) -> None:
    await client.increase(2)
    await eventually_here(lambda: all(machine.phase == "starting" for machine in fleet.machines().values()))
    await client.decrease(-1)
    assert await client.size() == 1
    await eventually_here(lambda: len(place.names()) == 1)
    await joined(fleet, client)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.decrease(-1)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert await client.size() == 1 == len(place.names())


@pytest.mark.parametrize("running", ["command"], indirect=True)
class TestCalls:
    """What has nothing to do with the cloud."""

    async def test_groups_are_the_pools(self, client: Client) -> None:
        groups = (await client.call("NodeGroups", messages.NodeGroupsRequest())).nodeGroups
        assert [(group.id, group.minSize, group.maxSize) for group in groups] == [("cpu", 0, 3), ("gpu", 0, 10)]

    async def test_a_node_is_known_by_its_provider_id_or_its_name(self, fleet: CloudFleet, client: Client) -> None:
        await client.increase(1)
        (name,) = fleet.machines()
        for node, group in [
            (messages.ExternalGrpcNode(providerID=f"oscar://c1/{name}", name="anything"), "cpu"),
            (messages.ExternalGrpcNode(name=name), "cpu"),
            (messages.ExternalGrpcNode(providerID=f"openstack:///{name}", name=name), ""),
            (messages.ExternalGrpcNode(providerID="oscar://c2/" + name, name=name), ""),
            (messages.ExternalGrpcNode(name="front"), ""),
        ]:
            answer = await client.call("NodeGroupForNode", messages.NodeGroupForNodeRequest(node=node))
            assert answer.nodeGroup.id == group

    async def test_a_template_is_a_node_of_kubernetes(self, client: Client) -> None:
        request = messages.NodeGroupTemplateNodeInfoRequest(id="cpu")
        answer = await client.call("NodeGroupTemplateNodeInfo", request)
        assert answer.nodeBytes == answer.nodeInfo
        node = node_pb2.Node.FromString(answer.nodeBytes)
        assert node.metadata.labels["disk"] == "ssd"
        assert node.metadata.labels["oscar.fedcloud.eu/pool"] == "cpu"
        assert node.status.allocatable["cpu"].string == "3920m"
        assert node.status.capacity["memory"].string == str(8 * 1024**3)
        assert [(t.key, t.value, t.effect) for t in node.spec.taints] == [("only", "jobs", "NoSchedule")]

    async def test_only_empty_nodes_are_removed_after_the_idle_time_of_the_pool(self, client: Client) -> None:
        defaults = messages.NodeGroupAutoscalingOptions(scaleDownUtilizationThreshold=0.5)
        defaults.scaleDownUnreadyDuration.FromSeconds(1200)
        request = messages.NodeGroupAutoscalingOptionsRequest(id="cpu", defaults=defaults)
        options = (await client.call("NodeGroupGetOptions", request)).nodeGroupAutoscalingOptions
        assert 0 < options.scaleDownUtilizationThreshold < 0.001
        assert options.ignoreDaemonSetsUtilization
        assert options.scaleDownUnneededDuration.ToSeconds() == 120
        assert options.MaxNodeProvisionDuration.ToSeconds() == 600
        assert options.scaleDownUnreadyDuration.ToSeconds() == 1200

    async def test_a_price_is_of_a_node_for_a_time(self, fleet: CloudFleet, client: Client) -> None:
        await client.increase(1)
        node = messages.ExternalGrpcNode(name=next(iter(fleet.machines())))
        start, end = Timestamp(seconds=0), Timestamp(seconds=1800)
        request = messages.PricingNodePriceRequest(node=node, startTimestamp=start, endTimestamp=end)
        assert (await client.call("PricingNodePrice", request)).price == pytest.approx(0.1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.call("PricingPodPrice", messages.PricingPodPriceRequest())
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    async def test_types_of_gpus_come_from_the_labels_of_pools(self, client: Client) -> None:
        assert (await client.call("GPULabel", messages.GPULabelRequest())).label == GPU_LABEL
        types = await client.call("GetAvailableGPUTypes", messages.GetAvailableGPUTypesRequest())
        assert set(types.gpuTypes) == {"A10"}

    @pytest.mark.parametrize("delta", [0, -1, 4])
    async def test_a_group_never_exceeds_its_limit(self, place: Place, client: Client, delta: int) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.increase(delta)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert await client.size() == 0

    async def test_what_is_not_there_is_said(self, client: Client) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.size("nothing")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.delete("oscar://c1/c1-cpu-zzzzz")
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_closed_pool_refuses_with_its_reason(self, fleet: CloudFleet, client: Client) -> None:
        fleet.closed = "cores: 40 of 40 used"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.increase(1)
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, fleet.closed)

    async def test_refresh_and_cleanup_are_answered(self, client: Client) -> None:
        assert await client.call("Refresh", messages.RefreshRequest()) == messages.RefreshResponse()
        assert await client.call("Cleanup", messages.CleanupRequest()) == messages.CleanupResponse()


@pytest.mark.parametrize("running", ["im"], indirect=True)
async def test_an_increase_returns_although_the_cloud_takes_longer(
    place: ImPlace, fleet: CloudFleet, client: Client
) -> None:
    place.im.set(delay=4)
    await client.increase(2)
    assert await client.size() == 2
    assert all(machine.phase == "asked" for machine in fleet.machines().values())
    place.im.set(delay=0)
    await eventually_here(lambda: len(place.names()) == 2)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"listen": "0.0.0.0:8086"}, "must be an address of loopback"),
        ({"certificate": "c.pem"}, "are needed together"),
        ({"certificate": "c", "key_file": "k"}, "are needed together"),
    ],
)
async def test_wrong_settings_are_said(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ExternalConfig(**settings).check()


async def test_only_clients_with_a_certificate_are_let_in(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    certificate, key = ours.issue("server", "localhost")
    port = free_port()
    config = ExternalConfig(
        listen=f"127.0.0.1:{port}",
        certificate=str(certificate),
        key_file=str(key),
        client_ca=str(ours.certificate),
    )
    place = CommandPlace()
    server = await serve(CloudFleet(build("site", "c1", place.settings()), place), config)
    try:
        assert await _groups(port, ours, ours) == 2
        for authority in (None, others):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await _groups(port, ours, authority)
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    finally:
        await server.stop(None)
        place.close()


async def _groups(port: int, trusted: Authority, signer: Authority | None) -> int:
    """How many groups a client sees whose certificate this authority has signed."""
    certificate, key = (path.read_bytes() for path in signer.issue("client", "client")) if signer else (None, None)
    credentials = grpc.ssl_channel_credentials(trusted.certificate.read_bytes(), key, certificate)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        answer = await CloudProviderStub(channel).NodeGroups(messages.NodeGroupsRequest(), timeout=5)
        return len(answer.nodeGroups)
