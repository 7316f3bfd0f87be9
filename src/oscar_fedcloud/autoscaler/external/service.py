# SPDX-License-Identifier: Apache-2.0
"""The gRPC service for Cluster Autoscaler, backed by a fleet. A node group is a pool.

An instance's id is the ``spec.providerID`` of its node, which is chosen before the machine exists. Thus Cluster
Autoscaler can match the two, and can name a machine that never became a node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.any_pb2 import Any as AnyMessage

from oscar_fedcloud.autoscaler.clouds.protocol import CloudError, NoRoom, provider_id
from oscar_fedcloud.autoscaler.external.fleet import Fleet
from oscar_fedcloud.autoscaler.external.protos import externalgrpc_pb2 as messages
from oscar_fedcloud.autoscaler.external.protos.externalgrpc_pb2_grpc import CloudProviderServicer
from oscar_fedcloud.autoscaler.external.template import template_node
from oscar_fedcloud.autoscaler.model import MachineView, Pool

log = structlog.get_logger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext

GPU_LABEL = "nvidia.com/gpu.product"  # label with the GPU type of a pool

_COUNTED = frozenset({"asked", "starting", "joined", "draining", "failed"})
_YOUNG = ("asked", "starting")  # not a node yet
_STATES = {
    "asked": messages.InstanceStatus.instanceCreating,
    "starting": messages.InstanceStatus.instanceCreating,
    "failed": messages.InstanceStatus.instanceCreating,  # with the error, so that the group backs off
    "joined": messages.InstanceStatus.instanceRunning,
    "draining": messages.InstanceStatus.instanceRunning,
    "removing": messages.InstanceStatus.instanceDeleting,
}
_OTHER_ERROR = 99  # class of an error that is not "out of resources"
_ONLY_EMPTY = 1e-6  # share of a node's requests; any Pod with a request keeps its node


class CloudProvider(CloudProviderServicer):
    """The fifteen calls. Increases return once the machines are recorded; the cloud may take minutes."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def NodeGroups(self, request: messages.NodeGroupsRequest, context: Context) -> messages.NodeGroupsResponse:
        return messages.NodeGroupsResponse(nodeGroups=[_group(pool) for pool in self._fleet.pools()])

    async def NodeGroupForNode(
        self, request: messages.NodeGroupForNodeRequest, context: Context
    ) -> messages.NodeGroupForNodeResponse:
        machine = self._machine(request.node)
        pool = next((each for each in self._fleet.pools() if machine and each.name == machine.pool), None)
        return messages.NodeGroupForNodeResponse(nodeGroup=_group(pool) if pool else messages.NodeGroup())

    async def NodeGroupTargetSize(
        self, request: messages.NodeGroupTargetSizeRequest, context: Context
    ) -> messages.NodeGroupTargetSizeResponse:
        pool = await self._pool(request.id, context)
        return messages.NodeGroupTargetSizeResponse(targetSize=len(self._counted(pool)))

    async def NodeGroupIncreaseSize(
        self, request: messages.NodeGroupIncreaseSizeRequest, context: Context
    ) -> messages.NodeGroupIncreaseSizeResponse:
        pool = await self._pool(request.id, context)
        size = len(self._counted(pool))
        if request.delta < 1 or size + request.delta > pool.max:
            words = f"delta is {request.delta}, pool {pool.name} has {size} machines and may have {pool.max}"
            await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, words)
        log.info("cluster autoscaler requests machines", pool=pool.name, count=request.delta)
        try:
            await self._fleet.launch(pool.name, request.delta)
        except CloudError as error:
            await _refuse(context, _status(error), str(error))
        return messages.NodeGroupIncreaseSizeResponse()

    async def NodeGroupDeleteNodes(
        self, request: messages.NodeGroupDeleteNodesRequest, context: Context
    ) -> messages.NodeGroupDeleteNodesResponse:
        pool = await self._pool(request.id, context)
        found = [self._machine(node) for node in request.nodes]
        names = [machine.name for machine in found if machine and machine.pool == pool.name]
        if len(names) != len(request.nodes):
            strangers = [node.name for node, machine in zip(request.nodes, found, strict=True) if not machine]
            await _refuse(
                context, grpc.StatusCode.INVALID_ARGUMENT, f"not machines of pool {pool.name}: {', '.join(strangers)}"
            )
        await self._remove(names, context)
        return messages.NodeGroupDeleteNodesResponse()

    async def NodeGroupDecreaseTargetSize(
        self, request: messages.NodeGroupDecreaseTargetSizeRequest, context: Context
    ) -> messages.NodeGroupDecreaseTargetSizeResponse:
        """Remove machines that are not nodes yet, first those that the cloud does not have."""
        pool = await self._pool(request.id, context)
        young = [machine for machine in self._counted(pool) if machine.phase in _YOUNG]
        young.sort(key=lambda machine: (_YOUNG.index(machine.phase), -machine.asked))
        if request.delta >= 0 or -request.delta > len(young):
            words = f"delta is {request.delta}, pool {pool.name} has {len(young)} machines that are not nodes yet"
            await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, words)
        await self._remove([machine.name for machine in young[: -request.delta]], context)
        return messages.NodeGroupDecreaseTargetSizeResponse()

    async def NodeGroupNodes(
        self, request: messages.NodeGroupNodesRequest, context: Context
    ) -> messages.NodeGroupNodesResponse:
        pool = await self._pool(request.id, context)
        shown = [each for each in self._fleet.machines().values() if each.pool == pool.name and each.phase in _STATES]
        return messages.NodeGroupNodesResponse(instances=[self._instance(machine) for machine in shown])

    async def NodeGroupTemplateNodeInfo(
        self, request: messages.NodeGroupTemplateNodeInfoRequest, context: Context
    ) -> messages.NodeGroupTemplateNodeInfoResponse:
        node = template_node(await self._pool(request.id, context))
        return messages.NodeGroupTemplateNodeInfoResponse(nodeInfo=node, nodeBytes=node)

    async def NodeGroupGetOptions(
        self, request: messages.NodeGroupAutoscalingOptionsRequest, context: Context
    ) -> messages.NodeGroupAutoscalingOptionsResponse:
        """Allow the removal of empty nodes only, after the pool's idle time: Jobs are never moved."""
        pool = await self._pool(request.id, context)
        options = messages.NodeGroupAutoscalingOptions()
        options.CopyFrom(request.defaults)
        options.scaleDownUtilizationThreshold = options.scaleDownGpuUtilizationThreshold = _ONLY_EMPTY
        options.ignoreDaemonSetsUtilization = True
        options.scaleDownUnneededDuration.FromMilliseconds(int(pool.idle * 1000))
        options.MaxNodeProvisionDuration.FromMilliseconds(int(pool.startup_timeout * 1000))
        return messages.NodeGroupAutoscalingOptionsResponse(nodeGroupAutoscalingOptions=options)

    async def PricingNodePrice(
        self, request: messages.PricingNodePriceRequest, context: Context
    ) -> messages.PricingNodePriceResponse:
        machine = self._machine(request.node)
        pool = next((each for each in self._fleet.pools() if machine and each.name == machine.pool), None)
        if pool is None or not any(each.price for each in self._fleet.pools()):
            await _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "no pool has a price")
        hours = (request.endTimestamp.ToMilliseconds() - request.startTimestamp.ToMilliseconds()) / 3_600_000
        return messages.PricingNodePriceResponse(price=pool.price * hours)

    async def PricingPodPrice(
        self, request: messages.PricingPodPriceRequest, context: Context
    ) -> messages.PricingPodPriceResponse:
        await _refuse(context, grpc.StatusCode.UNIMPLEMENTED, "Pods have no price")

    async def GPULabel(self, request: messages.GPULabelRequest, context: Context) -> messages.GPULabelResponse:
        return messages.GPULabelResponse(label=GPU_LABEL)

    async def GetAvailableGPUTypes(
        self, request: messages.GetAvailableGPUTypesRequest, context: Context
    ) -> messages.GetAvailableGPUTypesResponse:
        types = {pool.labels[GPU_LABEL] for pool in self._fleet.pools() if GPU_LABEL in pool.labels}
        return messages.GetAvailableGPUTypesResponse(gpuTypes={each: AnyMessage() for each in types})

    async def Refresh(self, request: messages.RefreshRequest, context: Context) -> messages.RefreshResponse:
        """Do nothing: the fleet is always up to date."""
        return messages.RefreshResponse()

    async def Cleanup(self, request: messages.CleanupRequest, context: Context) -> messages.CleanupResponse:
        """Do nothing: no state is kept for a client."""
        return messages.CleanupResponse()

    async def _pool(self, name: str, context: Context) -> Pool:
        for pool in self._fleet.pools():
            if pool.name == name:
                return pool
        return await _refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no pool {name!r}")

    def _counted(self, pool: Pool) -> list[MachineView]:
        machines: Iterable[MachineView] = self._fleet.machines().values()
        return [each for each in machines if each.pool == pool.name and each.phase in _COUNTED]

    def _machine(self, node: messages.ExternalGrpcNode) -> MachineView | None:
        """Return the machine of a node, by its provider id, or by its name if it has none."""
        prefix = provider_id(self._fleet.cluster, "")
        return self._fleet.machines().get(node.providerID.removeprefix(prefix) or node.name)

    def _instance(self, machine: MachineView) -> messages.Instance:
        status = messages.InstanceStatus(instanceState=_STATES[machine.phase])
        if machine.phase == "failed":
            status.errorInfo.errorCode = "failed"
            status.errorInfo.errorMessage = machine.reason
            status.errorInfo.instanceErrorClass = _OTHER_ERROR
        return messages.Instance(id=provider_id(self._fleet.cluster, machine.name), status=status)

    async def _remove(self, names: list[str], context: Context) -> None:
        log.info("cluster autoscaler removes machines", machines=names)
        try:
            await self._fleet.remove(names)
        except CloudError as error:
            await _refuse(context, _status(error), str(error))


def _group(pool: Pool) -> messages.NodeGroup:
    words = f"{pool.name} at {pool.cloud} ({pool.min}..{pool.max})"
    return messages.NodeGroup(id=pool.name, minSize=pool.min, maxSize=pool.max, debug=words)


def _status(error: CloudError) -> grpc.StatusCode:
    return grpc.StatusCode.RESOURCE_EXHAUSTED if isinstance(error, NoRoom) else grpc.StatusCode.UNAVAILABLE


async def _refuse(context: Context, code: grpc.StatusCode, words: str) -> NoReturn:
    """End the call with an error; ``abort`` raises."""
    await context.abort(code, words)
    raise AssertionError("unreachable")
