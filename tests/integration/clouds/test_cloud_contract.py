# SPDX-License-Identifier: Apache-2.0
"""What every cloud of the autoscaler does: the same test over real and documented ones."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
import yaml
from parts.clouds import Place

from oscar_fedcloud.autoscaler.clouds import build
from oscar_fedcloud.autoscaler.clouds.protocol import (
    Cloud,
    CloudError,
    CloudMachine,
    CloudUnavailable,
    MachineRequest,
    NoRoom,
)

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")

TOKEN = "abcdef.0123456789abcdef"
FILES = [{"path": "/etc/token", "content": f'{TOKEN}\nit\'s "quoted" é\n'}]
CONFIG = {"hostname": "a", "write_files": FILES, "runcmd": ["echo @end"]}
USER_DATA = f'#cloud-config\n{yaml.safe_dump({"hostname": "a", "write_files": FILES})}runcmd:\n- "echo\n@end"\n'
NAMES = ["c1-cpu-aaaaa", "c1-cpu-bbbbb", "c1-cpu-ccccc"]


@pytest.fixture
async def cloud(place: Place) -> AsyncIterator[Cloud]:
    cloud = build("site", "c1", place.settings())
    await cloud.open()
    yield cloud
    await cloud.close()


def wanted(place: Place, *names: str, pool: str = "cpu", again: bool = False) -> list[MachineRequest]:
    return [MachineRequest(name, pool, place.template, USER_DATA, again) for name in names]


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1200):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("the cloud does not come to that state")


async def states(cloud: Cloud, expected: dict[str, str]) -> bool:
    return {machine.name: machine.state for machine in await cloud.machines()} == expected


def by_name(machines: Sequence[CloudMachine]) -> dict[str, CloudMachine]:
    assert len({machine.name for machine in machines}) == len(machines)
    return {machine.name: machine for machine in machines}


async def test_machines_come_with_name_pool_and_user_data(place: Place, cloud: Cloud) -> None:
    place.set(boot=2)
    assert await cloud.create(wanted(place, *NAMES)) == {}
    machines = by_name(await cloud.machines())
    assert sorted(machines) == NAMES == place.names()
    assert {machine.pool for machine in machines.values()} == {"cpu"}
    assert {machine.state for machine in machines.values()} == {"creating"}
    assert machines[NAMES[0]].provider_id == f"oscar://c1/{NAMES[0]}"
    document = yaml.safe_load(place.user_data(NAMES[0]))
    assert document["runcmd"][0] == "echo @end"  # IM adds to lists
    assert {key: document[key] for key in CONFIG} == CONFIG | {"runcmd": document["runcmd"]}


async def test_a_machine_is_creating_until_it_runs_and_has_an_address(place: Place, cloud: Cloud) -> None:
    place.set(boot=0.5)
    await cloud.create(wanted(place, NAMES[0]))

    async def runs() -> bool:
        (machine,) = await cloud.machines()
        assert machine.state in ("creating", "running")
        return machine.state == "running" and machine.address.startswith("10.77.")

    await until(runs)


async def test_a_name_is_never_created_twice(place: Place, cloud: Cloud) -> None:
    await cloud.create(wanted(place, *NAMES[:2]))
    before = {machine.id for machine in await cloud.machines()}
    assert await cloud.create(wanted(place, *NAMES)) == {}
    assert await cloud.create(wanted(place, *NAMES)) == {}
    assert place.names() == NAMES
    assert before < {machine.id for machine in await cloud.machines()}


async def test_machines_are_deleted_in_one_batch_and_those_that_are_gone_are_no_error(
    place: Place, cloud: Cloud
) -> None:
    await cloud.create(wanted(place, *NAMES))
    machines = by_name(await cloud.machines())
    await cloud.delete([machines[NAMES[0]].id])
    await cloud.delete([machines[NAMES[0]].id, machines[NAMES[1]].id])
    assert place.names() == [NAMES[2]]
    assert [machine.name for machine in await cloud.machines() if machine.state != "deleting"] == [NAMES[2]]
    await cloud.delete([])
    await cloud.delete([machines[NAMES[0]].id])
    assert place.names() == [NAMES[2]]


async def test_what_there_is_no_room_for_is_refused_by_name(place: Place, cloud: Cloud) -> None:
    place.set(capacity=2)
    refused = await cloud.create(wanted(place, *NAMES))
    assert len(refused) == 1
    assert all(refused.values())
    assert place.names() == sorted(set(NAMES) - set(refused)) == sorted(by_name(await cloud.machines()))


async def test_no_room_at_all_is_said_and_leaves_nothing_behind(place: Place, cloud: Cloud) -> None:
    place.set(capacity=0)
    with pytest.raises(NoRoom):
        await cloud.create(wanted(place, *NAMES))
    assert place.names() == []
    assert await cloud.machines() == []


async def test_only_machines_of_this_cluster_are_seen(place: Place, cloud: Cloud) -> None:
    other = build("site", "c1-cpu", place.settings())
    await other.open()
    await other.create(wanted(place, "c1-cpu-x-aaaaa", pool="x"))
    await cloud.create(wanted(place, NAMES[0]))
    assert [machine.name for machine in await cloud.machines()] == [NAMES[0]]
    assert [machine.name for machine in await other.machines()] == ["c1-cpu-x-aaaaa"]
    await other.close()


async def test_nothing_is_forgotten_or_doubled_by_a_restart_on_either_side(place: Place, cloud: Cloud) -> None:
    await cloud.create(wanted(place, *NAMES[:2]))
    before = by_name(await cloud.machines())
    with place.away():
        with pytest.raises(CloudUnavailable):
            await cloud.machines()
        with pytest.raises(CloudUnavailable):
            await cloud.create(wanted(place, *NAMES))
        with pytest.raises(CloudError):
            await cloud.delete([before[NAMES[0]].id])
    assert {m.id for m in await cloud.machines()} == {m.id for m in before.values()}

    restarted = build("site", "c1", place.settings())
    await restarted.open()

    async def taken() -> bool:
        try:
            return await restarted.create(wanted(place, *NAMES, again=True)) == {}
        except CloudUnavailable:
            return False

    await until(taken)
    assert place.names() == NAMES
    await restarted.delete([machine.id for machine in await restarted.machines()])
    assert place.names() == []
    await restarted.close()


async def test_an_answer_that_gets_lost_doubles_nothing(place: Place) -> None:
    before = place.asked()
    with place.deaf():
        cloud = build("site", "c1", place.settings())
        with pytest.raises(CloudUnavailable):
            await cloud.create(wanted(place, *NAMES))

    async def taken() -> bool:
        try:
            return await cloud.create(wanted(place, *NAMES)) == {}
        except CloudUnavailable:
            return False

    await until(taken)
    assert place.names() == NAMES
    assert place.asked() - before == len(NAMES)
    await cloud.close()


async def test_stopped_machines_start_again_where_that_is_possible(place: Place, cloud: Cloud) -> None:
    await cloud.create(wanted(place, *NAMES[:2]))
    machines = by_name(await cloud.machines())
    if not cloud.can_stop:
        with pytest.raises(CloudError):
            await cloud.stop([machines[NAMES[0]].id])
        return
    running, stopped = dict.fromkeys(NAMES[:2], "running"), {NAMES[0]: "stopped", NAMES[1]: "running"}
    await until(lambda: states(cloud, running))
    await cloud.stop([machines[NAMES[0]].id])
    await until(lambda: states(cloud, stopped))
    await cloud.start([machines[NAMES[0]].id])
    await until(lambda: states(cloud, running))


async def test_room_is_what_the_quota_lets(place: Place, cloud: Cloud) -> None:
    room = await cloud.headroom(place.template)
    if not place.tells_room:
        assert room.machines is None
        return
    assert room.machines is not None
    assert room.machines > 0
    assert "used" in room.reason


async def test_a_template_is_checked_before_it_is_used(place: Place, cloud: Cloud) -> None:
    assert cloud.check(place.template) == []
    if place.wrong_template is not None:
        (problem,) = cloud.check(place.wrong_template)
        assert problem.startswith("template")


async def test_tokens_are_in_no_log_and_no_error(
    place: Place, cloud: Cloud, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    requests = wanted(place, *NAMES)
    place.set(capacity=1)
    said = [str(await cloud.create(requests)), repr(requests), repr(await cloud.machines()), repr(cloud)]
    place.set(capacity=0)
    with pytest.raises(CloudError) as caught:
        await cloud.create(wanted(place, "c1-cpu-zzzzz"))
    said += [str(caught.value), caplog.text, *capfd.readouterr()]
    assert TOKEN not in "".join(said)
    assert base64.b64encode(USER_DATA.encode()).decode()[:60] not in "".join(said)
    assert "cred-secret" not in "".join(said)
    assert "password = pass" not in "".join(said)
