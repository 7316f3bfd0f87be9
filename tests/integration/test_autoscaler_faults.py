# SPDX-License-Identifier: Apache-2.0
"""The autoscaler's daemon when it is killed, when the API is away, when machines do not come or come unasked."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from parts.autoscaler import Autoscaler, Cluster, empty, pool
from parts.autoscaler_kubelets import Kubelets
from parts.clouds import CommandPlace
from parts.kube import KubeServer
from parts.waiting import eventually

pytest_plugins = ["parts.autoscaler_fixtures"]


def test_a_restart_in_the_middle_of_a_scale_up_doubles_nothing(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace
) -> None:
    with Kubelets(cluster, place) as kubelets:
        autoscaler.start()
        with place.deaf():  # the cloud creates what it is asked for, but does not answer
            cluster.job("work", 8)
            eventually(lambda: len(place.names()) == 4, 30)
            autoscaler.end(signal.SIGKILL)
        autoscaler.start()
        eventually(lambda: len(cluster.placed()) == 8, 60)
        eventually(lambda: set(cluster.machines().values()) == {"joined"}, 30)
        assert place.asked() == 4
        assert set(cluster.machines()) == set(place.names())
        cluster.end_pods()
        eventually(lambda: empty(cluster, place), 60)
    assert kubelets.killed == kubelets.refused == []


def test_what_was_written_down_and_never_asked_for_is_asked_for_after_a_restart(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace
) -> None:
    machine = {
        "apiVersion": "oscar.fedcloud.eu/v1",
        "kind": "OscarMachine",
        "metadata": {"name": "oscar-small-2bcdf"},
        "spec": {"pool": "small", "cloud": "here"},
    }
    cluster.http.post("/apis/oscar.fedcloud.eu/v1/oscarmachines", json=machine).raise_for_status()
    cluster.job("work", 2)
    with Kubelets(cluster, place) as kubelets:
        autoscaler.start()
        eventually(lambda: len(cluster.placed()) == 2, 60)
        assert place.names() == ["oscar-small-2bcdf"]
        cluster.end_pods()
        eventually(lambda: empty(cluster, place), 60)
    assert kubelets.killed == kubelets.refused == []


def test_nothing_is_removed_while_the_api_is_away(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace, kube: KubeServer
) -> None:
    short = pool(idle=0.5, startup_timeout=2.0)
    autoscaler.write(pools=[short], lease_duration=2.0, missing_timeout=1.0, drain_timeout=1.0)
    with Kubelets(cluster, place) as kubelets:
        autoscaler.start()
        cluster.job("work", 3)
        eventually(lambda: len(cluster.placed()) == 3, 60)
        there = place.names()
        kube.stop_api()
        until = time.monotonic() + 9  # longer than all of the limits together
        while time.monotonic() < until:
            assert place.names() == there
            time.sleep(0.2)
        kube.start_api()
        eventually(lambda: autoscaler.get("/readyz").status_code == 200, 30)
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert place.names() == there
            time.sleep(0.2)
        assert kubelets.killed == []
        cluster.end_pods()
        eventually(lambda: empty(cluster, place), 60)
    assert kubelets.killed == kubelets.refused == []


def test_a_machine_that_never_joins_is_given_up_and_replaced(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace
) -> None:
    autoscaler.write(pools=[pool("first", startup_timeout=3.0, priority=1), pool("second")])
    with Kubelets(cluster, place, joins=lambda name: "-first-" not in name) as kubelets:
        autoscaler.start()
        cluster.job("work", 1)
        [stillborn] = eventually(place.names, 30)
        assert "-first-" in stillborn
        eventually(lambda: len(cluster.placed()) == 1, 60)
        eventually(lambda: stillborn not in place.names() and stillborn not in cluster.machines(), 30)
        assert place.asked() == 2
        kept = "/api/v1/namespaces/oscar/configmaps/oscar-autoscaler"  # by which a restart does not forget it
        health = eventually(lambda: cluster.http.get(kept).json().get("data", {}).get("pools"))
        assert json.loads(health)["first"]["failures"] == 1
        cluster.end_pods()
        eventually(lambda: empty(cluster, place), 60)
    assert kubelets.killed == kubelets.refused == []


def test_work_that_comes_to_a_cordoned_node_keeps_it(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace
) -> None:
    autoscaler.write(scan_interval=60.0)
    with Kubelets(cluster, place) as kubelets:
        autoscaler.start()
        cluster.job("work", 1)
        eventually(lambda: len(cluster.placed()) == 1, 60)
        [name] = place.names()
        cluster.end_pods()
        eventually(lambda: cluster.machines() == {name: "draining"}, 30)
        assert cluster.nodes()[name]["spec"]["unschedulable"] is True
        cluster.pod("latecomer", name)  # a bare Pod that nobody would make again
        eventually(lambda: cluster.machines() == {name: "joined"}, 30)
        eventually(lambda: "unschedulable" not in cluster.nodes()[name]["spec"], 30)
        assert place.names() == [name]
        cluster.end_pods()
        eventually(lambda: empty(cluster, place), 60)
    assert kubelets.killed == []


def test_flapping_demand_leaves_neither_orphans_nor_too_many(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace
) -> None:
    autoscaler.write(pools=[pool(max=3)])
    with Kubelets(cluster, place) as kubelets:
        autoscaler.start()
        for turn in range(6):
            cluster.job(f"work-{turn}", 4)
            time.sleep(1.0)
            assert len(place.names()) <= 3
            cluster.end_pods()
            path = f"/apis/batch/v1/namespaces/team/jobs/work-{turn}"
            if turn % 2:
                cluster.http.request("DELETE", path, json={"propagationPolicy": "Background"})
        for each in cluster.objects("/apis/batch/v1/namespaces/team/jobs"):
            path = f"/apis/batch/v1/namespaces/team/jobs/{each['metadata']['name']}"
            cluster.http.request("DELETE", path, json={"propagationPolicy": "Background"})
        eventually(lambda: cluster.end_pods() or empty(cluster, place), 60)
    assert kubelets.refused == []


def test_a_vm_that_nobody_remembers_is_adopted_and_goes(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace
) -> None:
    with Kubelets(cluster, place) as kubelets:
        autoscaler.start()
        cluster.job("work", 1)
        eventually(lambda: len(cluster.placed()) == 1, 60)
        [name] = place.names()
        autoscaler.end()
        cluster.http.delete(f"/apis/oscar.fedcloud.eu/v1/oscarmachines/{name}")
        autoscaler.start()
        eventually(lambda: cluster.machines() == {name: "joined"}, 30)
        assert place.names() == [name]
        cluster.end_pods()
        eventually(lambda: empty(cluster, place), 60)
    assert kubelets.killed == []


def test_another_autoscaler_takes_over_where_the_first_one_was(
    autoscaler: Autoscaler, cluster: Cluster, place: CommandPlace, kubeconfig: Path, tmp_path: Path
) -> None:
    autoscaler.write(lease_duration=3.0, pools=[pool(idle=300.0)])
    (tmp_path / "other").mkdir()
    other = Autoscaler(tmp_path / "other", kubeconfig, place, lease_duration=3.0, pools=[pool(idle=300.0)])
    try:
        autoscaler.start()
        eventually(lambda: autoscaler.figure("oscar_autoscaler_leading") == 1, 30)
        other.start()
        with place.deaf():
            cluster.job("work", 4)
            eventually(lambda: len(place.names()) == 2, 30)
            assert other.figure("oscar_autoscaler_leading") == 0
            autoscaler.end(signal.SIGKILL)
        with Kubelets(cluster, place) as kubelets:
            eventually(lambda: other.figure("oscar_autoscaler_leading") == 1, 30)
            eventually(lambda: set(cluster.machines().values()) == {"joined"}, 30)
            eventually(lambda: len(cluster.placed()) == 4, 30)
        assert place.asked() == 2
        assert kubelets.refused == []
    finally:
        other.end(signal.SIGKILL)
