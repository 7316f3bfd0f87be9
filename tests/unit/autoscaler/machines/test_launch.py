# SPDX-License-Identifier: Apache-2.0
"""Machines are written down before a cloud is told, and whatever gets lost in between, none is doubled or forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from parts.memory_cloud import Bench

from oscar_fedcloud.autoscaler.clouds.protocol import CloudError, MachineRequest, NoRoom
from oscar_fedcloud.autoscaler.machines import launch
from oscar_fedcloud.autoscaler.machines import reconcile_clouds as sync
from oscar_fedcloud.autoscaler.model import Launch
from oscar_fedcloud.autoscaler.names import MACHINES, TOKENS
from oscar_fedcloud.autoscaler.planning.pool_health import backoff_until
from oscar_fedcloud.kube import ResourceType


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


async def ask(bench: Bench, count: int, **fields: object) -> tuple[str, ...]:
    batch = launch.prepare(bench.context, Launch("small", count, "Pods wait", **fields))  # type: ignore[arg-type]
    assert batch is not None
    await launch.execute(bench.context, batch)
    return batch.names


async def compare(bench: Bench, **nodes: bool) -> None:
    await sync.CloudReconciler(bench.context, bench.cloud).run(nodes)


def token_of(request: MachineRequest) -> str:
    join = yaml.safe_load(yaml.safe_load(request.user_data)["write_files"][-1]["content"])
    assert join["nodeRegistration"]["name"] == request.name
    return str(join["discovery"]["bootstrapToken"]["token"])


def tokens(bench: Bench) -> int:
    return sum(path.startswith(f"{TOKENS.path()}/") for path in bench.kube.objects)


async def test_everything_is_written_before_the_one_request_to_the_cloud(bench: Bench) -> None:
    names = await ask(bench, 20)
    (asked,) = [index for index, line in enumerate(bench.journal) if line.startswith("CLOUD create")]
    for name in names:
        assert bench.journal.index(f"CREATE {MACHINES.path(name)}") < asked
    assert len(bench.cloud.batches) == 1
    assert {bench.phase(name) for name in names} == {"starting"}
    assert tokens(bench) == 20


async def test_each_machine_has_a_token_of_its_own(bench: Bench) -> None:
    await ask(bench, 5)
    assert len({token_of(each) for each in bench.cloud.batches[0]}) == 5


def test_machines_count_before_anything_is_awaited(bench: Bench) -> None:
    batch = launch.prepare(bench.context, Launch("small", 3, "Pods wait"))
    assert batch is not None
    assert len(bench.context.machines.views()) == 3
    assert bench.context.busy == set(batch.names)


async def test_a_machine_that_cannot_be_written_down_is_not_asked_for(bench: Bench) -> None:
    bench.kube.fails = lambda line: line.startswith(f"CREATE {MACHINES.path()}")
    await ask(bench, 3)
    assert bench.calls("create") == []
    assert bench.context.machines.views() == {}
    assert bench.context.busy == set()


async def test_without_a_token_nothing_is_asked_for_until_the_next_look(bench: Bench) -> None:
    bench.kube.fails = lambda line: TOKENS.path() in line
    (name,) = await ask(bench, 1)
    assert bench.calls("create") == []
    bench.kube.fails = lambda line: False
    await compare(bench)
    assert bench.cloud.names() == [name]
    assert bench.phase(name) == "starting"


async def test_whoever_does_not_lead_asks_for_nothing(bench: Bench) -> None:
    bench.leading = False
    (name,) = await ask(bench, 1)
    assert bench.calls("create") == []
    assert bench.phase(name) == "asked"


async def test_an_answer_that_got_lost_is_found_out(bench: Bench) -> None:
    bench.cloud.lost = True
    names = await ask(bench, 4)
    assert {bench.phase(name) for name in names} == {"asked"}
    assert bench.context.away == {"here"}
    assert bench.context.sync_soon.is_set()
    bench.cloud.lost = False
    await compare(bench)
    assert {bench.phase(name) for name in names} == {"starting"}
    assert len(bench.cloud.batches) == 1
    assert len(bench.cloud.vms) == 4


async def test_a_request_that_got_lost_is_repeated_with_the_same_names(bench: Bench) -> None:
    bench.cloud.fails = lambda call: call == "create"
    names = await ask(bench, 4)
    bench.cloud.fails = lambda call: False
    await compare(bench)
    assert bench.cloud.names() == sorted(names)
    assert [each.again for each in bench.cloud.batches[0]] == [True] * 4
    assert tokens(bench) == 4
    for each in bench.cloud.batches[0]:  # the token that it gets is the one that is valid
        identity, _, secret = token_of(each).partition(".")
        found = bench.kube.has(TOKENS, f"bootstrap-token-{identity}")
        assert found is not None
        assert found["stringData"]["token-secret"] == secret


async def test_nothing_is_repeated_while_the_cloud_cannot_be_listed(bench: Bench) -> None:
    bench.cloud.fails = lambda call: True
    await ask(bench, 4)
    with pytest.raises(CloudError):
        await compare(bench)
    assert bench.cloud.batches == []


@pytest.mark.parametrize("error", [NoRoom("38 of 40 cores are used"), CloudError("the image is not there")])
async def test_a_refusal_leaves_nothing_and_the_pool_rests(bench: Bench, error: CloudError) -> None:
    bench.cloud.error = error
    names = await ask(bench, 3)
    assert [bench.phase(name) for name in names] == [""] * 3
    assert tokens(bench) == 0
    health = bench.context.health.get("small")
    assert health.closed_until > bench.now
    assert health.reason == str(error)


async def test_a_part_of_a_batch_may_be_refused(bench: Bench) -> None:
    taken = iter(["", "no room", ""])
    bench.cloud.refuses = lambda name: next(taken)
    names = await ask(bench, 3)
    assert sorted(bench.phase(name) for name in names) == ["", "starting", "starting"]


async def test_stopped_machines_are_started_before_new_ones_are_made(bench: Bench) -> None:
    await bench.machine("oscar-small-bbbbb", "stopped", node=False)
    names = await ask(bench, 2, resume=("oscar-small-bbbbb",))
    assert len(names) == 1
    assert bench.calls("start") == ["CLOUD start oscar-small-bbbbb"]
    assert bench.phase("oscar-small-bbbbb") == "starting"


async def test_a_machine_that_nobody_remembers_is_adopted(bench: Bench) -> None:
    bench.cloud.add("oscar-small-xxxxx")
    bench.cloud.add("somebody-elses")
    bench.cloud.add("oscar-small-going", state="deleting")
    await compare(bench)
    assert bench.phase("oscar-small-xxxxx") == "starting"
    assert list(bench.context.machines.views()) == ["oscar-small-xxxxx"]


async def test_health_of_pools_survives_a_restart(bench: Bench, tmp_path: Path) -> None:
    bench.context.health.failed("small", bench.now, "no room")
    await bench.context.health.save()
    after = Bench(tmp_path)
    after.kube.objects = bench.kube.objects
    await after.context.health.load()
    assert after.context.health.get("small") == bench.context.health.get("small")


async def test_two_machines_of_one_name_become_one_again(bench: Bench) -> None:
    await bench.machine("oscar-small-bbbbb", "starting", vm=False, node=False)
    for number in (1, 2):
        bench.cloud.add("oscar-small-bbbbb", id=f"id-{number}", created=float(number))
    await compare(bench)
    assert list(bench.cloud.vms) == ["id-2"]  # the newest has the token that is valid


async def test_of_two_machines_of_one_name_the_node_stays(bench: Bench) -> None:
    await bench.machine("oscar-small-bbbbb", "joined", vm=False)
    node = bench.kube.has(sync.NODES, "oscar-small-bbbbb")
    assert node is not None
    node["status"]["addresses"] = [{"type": "InternalIP", "address": "10.0.0.1"}]
    for number in (1, 2):
        bench.cloud.add("oscar-small-bbbbb", id=f"id-{number}", created=float(number), address=f"10.0.0.{number}")
    await compare(bench, **{"oscar-small-bbbbb": True})
    assert list(bench.cloud.vms) == ["id-1"]
    bench.cloud.add("oscar-small-bbbbb", id="id-1")  # nobody knows which of them is the node
    bench.cloud.add("oscar-small-bbbbb", id="id-2")
    await compare(bench, **{"oscar-small-bbbbb": True})
    assert len(bench.cloud.vms) == 2


async def test_an_object_whose_writing_was_not_answered_comes_back(bench: Bench) -> None:
    (name,) = await ask(bench, 1)
    written = dict(bench.kube.objects)
    bench.context.machines.forget(name)
    await bench.context.machines.refresh(())
    assert bench.context.machines.views()[name].phase == "starting"
    bench.kube.objects.clear()  # somebody deletes the object
    await bench.context.machines.refresh({name})
    assert name in bench.context.machines.views()  # in hand
    await bench.context.machines.refresh(())
    assert bench.context.machines.views() == {}
    bench.kube.objects.update(written)


async def test_the_quota_is_asked_for_and_counted_in_between(bench: Bench) -> None:
    look = sync.CloudReconciler(bench.context, bench.cloud)
    bench.cloud.free = 5
    await look.refresh_headroom()
    await ask(bench, 3)
    assert bench.context.health.get("small").headroom == 2
    await look.refresh_headroom()  # too soon to ask again
    assert bench.context.health.get("small").headroom == 2
    bench.now += 61
    await look.refresh_headroom()
    assert bench.context.health.get("small").headroom == 5


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, "[]", '{"small": 5}', '{"small": {"closed_until": 1e300, "failures": -7}}']
)
async def test_health_that_was_edited_by_hand_closes_no_pool(bench: Bench, text: str) -> None:
    place = ResourceType("v1", "configmaps", "oscar")
    bench.kube.put(place, {"metadata": {"name": "oscar-autoscaler"}, "data": {"pools": text}})
    await bench.context.health.load()
    assert backoff_until(bench.context.health.get("small"), bench.now) == 0
    bench.context.health.failed("small", bench.now, "no room")
    assert backoff_until(bench.context.health.get("small"), bench.now) > bench.now


@pytest.mark.parametrize("since", ["0000-01-01T00:00:00Z", "2026-01-01T23:59:60Z", "yesterday"])
async def test_a_machine_that_was_edited_by_hand_is_read(bench: Bench, since: str) -> None:
    (name,) = await ask(bench, 1)
    document = bench.kube.has(MACHINES, name)
    assert document is not None
    bench.kube.put(MACHINES, {**document, "status": {"phase": "starting", "since": since}})
    await bench.context.machines.load()
    found = bench.context.machines.views()[name]
    assert (found.phase, found.since) == ("starting", found.asked)
