# SPDX-License-Identifier: Apache-2.0
"""Of several autoscalers one acts, and it stops before another may."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.kube_memory import KubeMemory

from oscar_fedcloud.kube import ResourceType
from oscar_fedcloud.kube.lease import Lease


class Time:
    """A clock of each machine is its own; only differences count."""

    now = 0.0


def lease(kube: KubeMemory, time: Time, identity: str, offset: float = 0.0) -> Lease:
    client: Any = kube
    return Lease(client, "oscar", "oscar-autoscaler", identity, 15.0, clock=lambda: time.now + offset)


@pytest.fixture
def kube() -> KubeMemory:
    return KubeMemory([])


async def test_the_first_one_leads_and_the_second_waits_until_it_is_silent(kube: KubeMemory) -> None:
    time = Time()
    one, two = lease(kube, time, "one"), lease(kube, time, "two", offset=1000.0)
    await one.attempt()
    await two.attempt()
    assert (one.leads, two.leads) == (True, False)
    time.now = 9.9
    assert one.leads
    time.now = 10.1  # two thirds: it stops by itself
    assert not one.leads
    await two.attempt()
    assert not two.leads
    time.now = 16.0
    await two.attempt()
    assert two.leads
    await one.attempt()
    assert not one.leads


async def test_a_restart_on_the_same_machine_need_not_wait(kube: KubeMemory) -> None:
    time = Time()
    await lease(kube, time, "one").attempt()
    again = lease(kube, time, "one")
    await again.attempt()
    assert again.leads


async def test_a_lease_that_is_given_back_is_free_at_once(kube: KubeMemory) -> None:
    time = Time()
    one, two = lease(kube, time, "one"), lease(kube, time, "two")
    await one.attempt()
    await one.release()
    assert not one.leads
    await two.attempt()
    assert two.leads


async def test_without_an_answer_the_lead_is_lost(kube: KubeMemory) -> None:
    time = Time()
    one = lease(kube, time, "one")
    await one.attempt()
    kube.fails = lambda line: True
    time.now = 5.0
    await one.attempt()
    assert one.leads
    time.now = 11.0
    await one.attempt()
    assert not one.leads


async def test_of_two_that_try_at_once_one_wins(kube: KubeMemory) -> None:
    time = Time()
    one, two = lease(kube, time, "one"), lease(kube, time, "two")
    await one.attempt()
    await one.release()

    def somebody_is_faster(line: str) -> bool:
        if line.startswith("REPLACE"):
            kube.objects[line.partition(" ")[2]]["metadata"]["resourceVersion"] = "another"
        return False

    kube.fails = somebody_is_faster
    await two.attempt()
    assert not two.leads


@given(st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), st.floats(0, 20)), max_size=60))
async def test_never_do_two_lead(steps: list[tuple[str, float]]) -> None:
    kube, time = KubeMemory([]), Time()
    leases = {
        name: lease(kube, time, name, offset=number * 37.0) for number, name in enumerate(("one", "two", "three"))
    }
    for name, pause in steps:
        time.now += pause
        await leases[name].attempt()
        assert sum(each.leads for each in leases.values()) <= 1


@pytest.mark.parametrize(
    "spec", [None, {}, {"leaseTransitions": 2**31 - 1}, {"holderIdentity": "", "leaseTransitions": None}]
)
async def test_a_lease_that_was_edited_by_hand_is_taken_and_given_back(kube: KubeMemory, spec: Any) -> None:
    resource = ResourceType("coordination.k8s.io/v1", "leases", "oscar")
    edited = {"metadata": {"name": "oscar-autoscaler", "resourceVersion": "1"}}
    kube.put(resource, edited if spec is None else edited | {"spec": spec})
    one = lease(kube, Time(), "one")
    await one.attempt()
    assert one.leads
    found = kube.has(resource, "oscar-autoscaler")
    assert found is not None
    assert 0 < found["spec"]["leaseTransitions"] < 2**31
    kube.put(resource, edited)
    await one.release()
    assert not one.leads
