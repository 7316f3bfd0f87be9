# SPDX-License-Identifier: Apache-2.0
"""What the cloud ``im`` spares the real Infrastructure Manager, by IM's own log."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from parts.clouds import ImPlace

from oscar_fedcloud.autoscaler.clouds import build
from oscar_fedcloud.autoscaler.clouds.im import ImCloud
from oscar_fedcloud.autoscaler.clouds.protocol import CloudError, MachineRequest


@pytest.fixture(scope="module")
def running() -> Iterator[ImPlace]:
    place = ImPlace()
    yield place
    place.close()


@pytest.fixture
def place(running: ImPlace) -> ImPlace:
    running.reset()
    (running.im.folder / "im.log").write_text("")
    return running


@pytest.fixture
async def cloud(place: ImPlace) -> AsyncIterator[ImCloud]:
    cloud = build("site", "c1", place.settings() | {"batch": 4})
    assert isinstance(cloud, ImCloud)
    yield cloud
    await cloud.close()


def wanted(place: ImPlace, *numbers: int) -> list[MachineRequest]:
    return [MachineRequest(f"c1-cpu-{n:05}", "cpu", place.template, "#cloud-config\n{}\n") for n in numbers]


def log(place: ImPlace, pattern: str) -> list[str]:
    return re.findall(pattern, (place.im.folder / "im.log").read_text())


async def test_a_batch_is_one_request_to_add_and_one_to_remove(place: ImPlace, cloud: ImCloud) -> None:
    await cloud.create(wanted(place, 1, 2, 3))
    await cloud.delete([machine.id for machine in await cloud.machines()])
    assert len(log(place, "Adding resources to Inf ID")) == 1
    assert log(place, r"Removing the VMs: (\S+) from") == ["1,2,3"]


async def test_a_large_batch_is_split(place: ImPlace, cloud: ImCloud) -> None:
    assert await cloud.create(wanted(place, *range(10))) == {}
    assert len(log(place, "Adding resources to Inf ID")) == 3
    assert len(place.names()) == 10


async def test_room_for_a_part_of_a_large_batch_refuses_the_rest(place: ImPlace, cloud: ImCloud) -> None:
    place.set(capacity=6)
    refused = await cloud.create(wanted(place, *range(20)))
    assert len(refused) == 14
    assert len(place.names()) == 6 == len(await cloud.machines())


async def test_im_configures_nothing(place: ImPlace, cloud: ImCloud) -> None:
    await cloud.create(wanted(place, 1))
    await cloud.delete([machine.id for machine in await cloud.machines()])
    assert log(place, "Contextualiz.*") == []


async def test_vms_of_the_same_place_in_later_batches_keep_their_names(place: ImPlace, cloud: ImCloud) -> None:
    await cloud.create(wanted(place, 1, 2))
    await cloud.create(wanted(place, 3, 4))
    place.im.stop()
    place.im.start()
    assert sorted(machine.name for machine in await cloud.machines()) == [f"c1-cpu-0000{n}" for n in (1, 2, 3, 4)]
    radl = place.im.request("GET", f"/infrastructures/{place.infrastructure}/radl")
    assert re.findall(r"system (\w+)", radl.partition("contextualize")[0]) == ["front_end", "cpu_0", "cpu_1"]


async def test_what_is_not_ours_is_never_deleted(place: ImPlace, cloud: ImCloud) -> None:
    await cloud.create(wanted(place, 1))
    await cloud.delete(["0/front", "0/c1-cpu-00001", "1/c1-cpu-00009"])
    assert [name for name, _ in place.im.cloud_vms()] == ["c1-cpu-00001", "front"]


async def test_a_vm_that_the_cloud_has_lost_is_failed(place: ImPlace, cloud: ImCloud) -> None:
    await cloud.create(wanted(place, 1))
    for file in (place.im.folder / "vms").glob("*.json"):
        file.unlink()
    (machine,) = [m for m in await _settled(cloud) if m.name == "c1-cpu-00001"]
    assert (machine.state, machine.reason) == ("failed", "the cloud no longer has it")
    await cloud.delete([machine.id])
    assert await cloud.machines() == []


async def _settled(cloud: ImCloud) -> list[Any]:
    """IM asks the cloud at most once a second."""
    for _ in range(100):
        machines = await cloud.machines()
        if machines[0].state == "failed":
            break
        await asyncio.sleep(0.05)
    return machines


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"infrastructure": "nothing"}, "404"),
        ({"auth_file": "/nonexistent/auth.dat"}, "/nonexistent/auth.dat cannot be read"),
    ],
)
async def test_what_is_wrong_is_said_when_it_is_opened(place: ImPlace, wrong: dict[str, str], words: str) -> None:
    cloud = build("site", "c1", place.settings() | wrong)
    with pytest.raises(CloudError, match=words):
        await cloud.open()
    await cloud.close()


async def test_user_data_that_im_cannot_take_is_refused(place: ImPlace, cloud: ImCloud) -> None:
    script = MachineRequest("c1-cpu-00001", "cpu", place.template, "#!/bin/sh\necho hello\n")
    with pytest.raises(CloudError, match="not a #cloud-config"):
        await cloud.create([script])
    assert place.names() == []
