# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's daemon at a real API server and scheduler, over the cloud ``command``: machines come, work, go."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import yaml
from parts.autoscaler import ACCOUNT, Autoscaler, Cluster, empty, pool
from parts.autoscaler_kubelets import Kubelets, join_configuration
from parts.clouds import CommandPlace
from parts.kube import KubeServer
from parts.memory_cloud import MemoryCloud
from parts.ports import free_port
from parts.waiting import eventually

from oscar_fedcloud.autoscaler.assembly import make_controller
from oscar_fedcloud.autoscaler.config.loading import load
from oscar_fedcloud.autoscaler.external.protos import externalgrpc_pb2 as messages
from oscar_fedcloud.autoscaler.external.protos.externalgrpc_pb2_grpc import CloudProviderStub
from oscar_fedcloud.autoscaler.names import MANAGER
from oscar_fedcloud.kube import KubeClient
from oscar_fedcloud.kube.lease import Lease

pytest_plugins = ["parts.autoscaler_fixtures"]


def test_machines_come_when_pods_wait_and_go_when_nothing_runs(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace, kube: KubeServer
) -> None:
    autoscaler.write(pools=[pool(labels={"site.example/kind": "small"}, taints=[{"key": "batch", "value": "yes"}])])
    with Kubelets(cluster, place) as kubelets:
        autoscaler.start()
        cluster.job("work", 5, tolerations=[{"key": "batch", "operator": "Exists"}])
        eventually(lambda: len(cluster.placed()) == 5, 60)
        assert len(place.names()) == 3  # nodes of two processors for five Pods of one
        assert set(cluster.machines()) == set(place.names()) == set(cluster.nodes())
        for name, node in cluster.nodes().items():
            join = join_configuration(place.user_data(name))
            assert join["discovery"]["bootstrapToken"]["caCertHashes"][0].startswith("sha256:")
            assert node["metadata"]["labels"]["oscar.fedcloud.eu/pool"] == "small"
            assert node["metadata"]["labels"]["site.example/kind"] == "small"
            assert node["spec"]["providerID"] == f"oscar://oscar/{name}"
        eventually(lambda: set(cluster.machines().values()) == {"joined"} and not cluster.tokens(), 30)
        cluster.end_pods()
        eventually(lambda: empty(cluster, place), 60)
    assert kubelets.killed == kubelets.refused == []
    assert place.asked() == 3
    assert [each for each in kube.requests(ACCOUNT) if each["responseStatus"]["code"] == 403] == []


def test_a_pod_that_no_pool_can_serve_is_told_so(autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace) -> None:
    autoscaler.start()
    cluster.job("large", 1, cpu="64")
    event = eventually(lambda: cluster.events("NotTriggerScaleUp"), 30)[0]
    assert "small" in event["message"]
    assert "cpu" in event["message"]
    assert not place.names()
    pod = cluster.pods()[0]["metadata"]["name"]
    told = json.loads(autoscaler.run("explain", f"team/{pod}", "--json").stdout)
    assert any("cpu" in line for line in [told["outcome"], *told["details"]])
    assert autoscaler.get(f"/explain?what=team/{pod}").json()["subject"] == f"team/{pod}"
    assert autoscaler.run("explain", "team/nobody").returncode == 4


def test_a_changed_configuration_is_taken_up_whole_or_not_at_all(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace
) -> None:
    autoscaler.write(pools=[pool(max=0)])
    autoscaler.start()
    cluster.job("work", 1)
    eventually(lambda: cluster.events("NotTriggerScaleUp"), 30)
    autoscaler.write(pools=[pool(max=5, cloud="elsewhere")])
    autoscaler.hang_up()
    eventually(lambda: autoscaler.figure("oscar_autoscaler_reloads_total") == 1, 30)
    assert place.names() == []
    autoscaler.write(pools=[pool(max=5)])
    autoscaler.hang_up()
    eventually(lambda: len(place.names()) == 1, 30)


def test_what_it_serves_and_how_it_ends(autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace) -> None:
    with Kubelets(cluster, place):
        autoscaler.start()
        assert autoscaler.get("/livez").text == "ok"
        cluster.job("work", 2)
        eventually(lambda: set(cluster.machines().values()) == {"joined"}, 60)
        assert autoscaler.figure("oscar_autoscaler_launched_total") == 1
        assert autoscaler.figure("oscar_autoscaler_reaction_seconds_count") == 1
        assert autoscaler.get("/machines").json()[0]["phase"] == "joined"
        shown = autoscaler.run("machines")
        assert shown.returncode == 0
        assert place.names()[0] in shown.stdout
        time.sleep(1.5)
        assert autoscaler.end() == 0
        autoscaler.start()
        page = autoscaler.get("/report?hours=1").text
        assert "<svg" in page
        assert "small" in page  # what was before the restart
        lease = cluster.http.get("/apis/coordination.k8s.io/v1/namespaces/oscar/leases/oscar-autoscaler").json()
        assert lease["spec"]["leaseTransitions"] >= 1


def test_dry_run_decides_and_changes_nothing(autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace) -> None:
    cluster.job("work", 2)
    eventually(lambda: cluster.pods(), 30)
    recorded = autoscaler.folder / "record"
    plan = eventually(lambda: autoscaler.run("plan").stdout if "small" in autoscaler.run("plan").stdout else "", 30)
    assert "1" in plan
    assert autoscaler.run("plan", "--what-if", "10 x cpu=1").returncode == 0
    assert autoscaler.run("record", str(recorded)).returncode == 0
    again = autoscaler.command("replay", str(recorded))[:-2]
    assert subprocess.run(again, capture_output=True, check=False).returncode == 0
    assert place.asked() == 0
    assert cluster.machines() == {}


def test_a_wrong_configuration_is_refused_with_all_that_is_wrong(autoscaler: Autoscaler) -> None:
    document = yaml.safe_load(autoscaler.config_file.read_text())
    document["pools"][0] |= {"cloud": "elsewhere", "min": 20}
    autoscaler.config_file.write_text(yaml.safe_dump(document))
    done = autoscaler.run("validate")
    assert done.returncode == 2
    assert "pools.small.cloud is 'elsewhere'" in done.stderr
    assert "pools.small.min is 20" in done.stderr


async def test_a_burst_is_one_batch_for_each_pool(
    cluster: Cluster, place: CommandPlace, kubeconfig: Path, tmp_path: Path
) -> None:
    large = pool("large", capacity={"cpu": 32, "memory": "64Gi"})
    pools = [large, pool("gpu", labels={"gpu": "yes"}, taints=[{"key": "gpu"}])]
    config_file = Autoscaler(tmp_path, kubeconfig, place, pools=pools).config_file
    cluster.job("burst", 300)
    cluster.job("training", 6, nodeSelector={"gpu": "yes"}, tolerations=[{"key": "gpu", "operator": "Exists"}])
    waiting = '"reason":"Unschedulable"'
    eventually(lambda: cluster.http.get("/api/v1/namespaces/team/pods").text.count(waiting) == 306, 60)
    pods = {each["metadata"]["name"] for each in cluster.pods()}
    config = load(config_file)
    client = KubeClient(config.kubeconfig)
    controller = await make_controller(
        config, client, Lease(client, config.namespace, MANAGER, "test", config.lease_duration)
    )
    cloud = MemoryCloud([])
    controller.context.clouds = {"here": cloud}
    await controller.start()
    try:
        await asyncio.to_thread(eventually, lambda: len(cloud.vms) >= 13 and not controller.context.busy, 60)
        await asyncio.to_thread(eventually, lambda: pods <= told(cluster, "TriggeredScaleUp"), 60)
        await asyncio.sleep(1)  # in which more would come
    finally:
        await controller.stop()
        await client.close()
    assert sorted(len(batch) for batch in cloud.batches) == [3, 10]
    assert set(cluster.machines()) == set(cloud.names())


def test_cluster_autoscaler_may_decide_instead(autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace) -> None:
    address = f"127.0.0.1:{free_port()}"
    autoscaler.write(external={"listen": address})
    with Kubelets(cluster, place) as kubelets, grpc.insecure_channel(address) as channel:
        autoscaler.start()
        server = CloudProviderStub(channel)
        cluster.job("work", 1)
        eventually(lambda: autoscaler.figure("oscar_autoscaler_waiting_pods") == 1, 30)
        assert place.names() == []  # it decides nothing itself
        order = messages.NodeGroupIncreaseSizeRequest(id="small", delta=2)
        eventually(lambda: accepted(lambda: server.NodeGroupIncreaseSize(order, timeout=5)), 30)
        eventually(lambda: len(cluster.placed()) == 1 and set(cluster.machines().values()) == {"joined"}, 60)
        nodes = [
            messages.ExternalGrpcNode(name=name, providerID=node["spec"]["providerID"])
            for name, node in cluster.nodes().items()
        ]
        server.NodeGroupDeleteNodes(messages.NodeGroupDeleteNodesRequest(id="small", nodes=nodes), timeout=5)
        busy = next(iter(cluster.placed().values()))
        eventually(lambda: place.names() == [busy], 30)  # the one with work stays, whoever orders
        eventually(lambda: cluster.machines() == {busy: "joined"}, 30)
    assert kubelets.killed == kubelets.refused == []


def told(cluster: Cluster, reason: str) -> set[str]:
    """Pods that have an Event of this reason."""
    return {each["involvedObject"]["name"] for each in cluster.events(reason)}


def accepted(call: Callable[[], object]) -> bool:
    """Whether a call over gRPC went well."""
    try:
        call()
    except grpc.RpcError:
        return False
    return True
