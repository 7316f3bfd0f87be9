# SPDX-License-Identifier: Apache-2.0
"""What is special about the cloud ``openstack``, driven by the real openstacksdk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from parts.clouds import OpenStackPlace

from oscar_fedcloud.autoscaler.clouds import build
from oscar_fedcloud.autoscaler.clouds.protocol import Cloud, CloudError, MachineRequest

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")


@pytest.fixture(scope="module")
def running() -> Iterator[OpenStackPlace]:
    place = OpenStackPlace()
    yield place
    place.close()


@pytest.fixture
async def cloud(place: OpenStackPlace) -> AsyncIterator[Cloud]:
    cloud = build("site", "c1", place.settings())
    yield cloud
    await cloud.close()


def wanted(place: OpenStackPlace, *names: str, **template: Any) -> list[MachineRequest]:
    return [MachineRequest(name, "cpu", {**place.template, **template}, "#cloud-config\n{}\n") for name in names]


async def test_a_request_has_all_that_the_template_says(place: OpenStackPlace, cloud: Cloud) -> None:
    more = {"key_name": "admin", "availability_zone": "nova", "config_drive": True, "metadata": {"owner": "vo"}}
    await cloud.create(wanted(place, "c1-cpu-aaaaa", **more))
    (body,) = place.cloud.state.posts
    server = body["server"]
    assert server["metadata"] == {"owner": "vo", "oscar-cluster": "c1", "oscar-pool": "cpu"}
    assert server["networks"] == [{"uuid": "7f3f2b6a-0000-4000-8000-000000000003"}]
    assert server["security_groups"] == [{"name": "c2a6f2d0-0000-4000-8000-000000000005"}]
    assert (server["key_name"], server["availability_zone"], server["config_drive"]) == ("admin", "nova", True)
    assert body["OS-SCH-HNT:scheduler_hints"] == {"group": "e8a7b3a1-0000-4000-8000-000000000006"}


async def test_a_root_disk_in_cinder_goes_with_its_server(place: OpenStackPlace, cloud: Cloud) -> None:
    await cloud.create(wanted(place, "c1-cpu-aaaaa", boot_volume={"size": 20, "type": "ssd"}))
    server = place.cloud.state.posts[0]["server"]
    assert not server.get("imageRef")
    (disk,) = server["block_device_mapping_v2"]
    assert disk["delete_on_termination"] is True
    assert (disk["source_type"], disk["volume_size"], disk["volume_type"]) == ("image", 20, "ssd")


async def test_room_takes_the_tightest_limit(place: OpenStackPlace, cloud: Cloud) -> None:
    place.set(capacity=7)
    await cloud.create(wanted(place, "c1-cpu-aaaaa", "c1-cpu-bbbbb"))
    assert (await cloud.headroom(place.template)).machines == 5
    room = await cloud.headroom({**place.template, "boot_volume": {"size": 25}})
    assert (room.machines, room.reason) == (2, "gigabytes: 40 of 100 used")


async def test_a_server_without_a_host_is_failed_and_says_why(place: OpenStackPlace, cloud: Cloud) -> None:
    place.cloud.state.valid_hosts = 1
    assert await cloud.create(wanted(place, "c1-cpu-aaaaa")) == {}
    assert await cloud.create(wanted(place, "c1-cpu-bbbbb")) == {}
    (failed,) = [machine for machine in await cloud.machines() if machine.state == "failed"]
    assert failed.name == "c1-cpu-bbbbb"
    assert failed.reason.startswith("No valid host was found")


@pytest.mark.parametrize("field", ["image", "flavor", "server_group"])
async def test_a_name_that_the_project_does_not_have_is_said(place: OpenStackPlace, cloud: Cloud, field: str) -> None:
    with pytest.raises(CloudError, match=f"there is no {field.replace('_', ' ')} 'nothing'"):
        await cloud.create(wanted(place, "c1-cpu-aaaaa", **{field: "nothing"}))
    assert place.cloud.state.posts == []


async def test_after_the_first_refusal_the_rest_of_a_batch_is_not_sent(place: OpenStackPlace, cloud: Cloud) -> None:
    place.set(capacity=10)
    refused = await cloud.create(wanted(place, *(f"c1-cpu-{n:05}" for n in range(100))))
    assert len(refused) == 90
    assert len(place.names()) == 10
    assert len(place.cloud.state.posts) < 40


async def test_a_renewed_secret_is_used(place: OpenStackPlace, cloud: Cloud) -> None:
    place.secret.write_text("wrong")
    with pytest.raises(CloudError, match="401"):
        await cloud.open()
    place.secret.write_text(place.cloud.state.credential[1])
    await cloud.open()
    assert await cloud.machines() == []


async def test_a_server_on_its_way_out_is_deleting(place: OpenStackPlace, cloud: Cloud) -> None:
    place.cloud.state.deleting = 30
    await cloud.create(wanted(place, "c1-cpu-aaaaa"))
    (machine,) = await cloud.machines()
    await cloud.delete([machine.id])
    assert [machine.state for machine in await cloud.machines()] == ["deleting"]
