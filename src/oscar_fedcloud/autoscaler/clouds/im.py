# SPDX-License-Identifier: Apache-2.0
"""The cloud ``im``: machines in an infrastructure of the Infrastructure Manager (IM), at any cloud that IM supports.

All machines of a batch are sent in one POST with ``context=0``: IM then only creates VMs, which join by their
cloud-init, and does not configure the whole infrastructure again. IM reports such VMs as ``running``, not as
``configured``.

IM numbers the VMs, and a VM's number is not final until the POST that created it is answered. Therefore a machine's id
here is ``NUMBER/NAME``. Deletions wait for a POST in progress and are sent only for numbers that still have that name.

If the answer to a POST is lost, for example in a proxy with a time limit, IM still completes it and its VMs appear one
after the other. Its machines are therefore requested again only after no new VM has appeared for a while (``settle``).
If IM crashes during a POST, it lists the VMs launched so far until the next POST and then loses them; such VMs can only
be found in the cloud itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from oscar_fedcloud.autoscaler.clouds import im_radl
from oscar_fedcloud.autoscaler.clouds.im_radl import VM, ImTemplate
from oscar_fedcloud.autoscaler.clouds.im_rest import Gone, ImClient, is_no_room
from oscar_fedcloud.autoscaler.clouds.messages import reason
from oscar_fedcloud.autoscaler.clouds.oidc import OidcConfig, TokenSource
from oscar_fedcloud.autoscaler.clouds.protocol import (
    CloudError,
    CloudMachine,
    CloudUnavailable,
    Headroom,
    MachineRequest,
    provider_id,
)
from oscar_fedcloud.autoscaler.clouds.quota import Quota, headroom_in

T = TypeVar("T")


class ImConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True, tag_field="type", tag="im"):
    """An infrastructure at an IM server. It must exist and have the networks that pools name."""

    url: str  # e.g. https://appsgrycap.i3m.upv.es/im
    infrastructure: str  # its id
    auth_file: str  # credentials in im_client's format, one per line; read for each request
    oidc: OidcConfig | None = None  # source of the token for {access_token} in auth_file
    ca_file: str = ""  # CA bundle for the server; empty means the system's
    timeout: float = 60.0  # s that IM may take to answer
    change_timeout: float = 1800.0  # s that IM may take to create or delete VMs, which it does before it answers
    settle: float = 60.0  # s without a new VM after which a request with a lost answer counts as ended
    batch: int = 50  # VMs in one POST; IM stores the whole request with each of its VMs

    def problems(self) -> list[str]:
        """Return the problems of these settings, one sentence each."""
        found = [] if self.url.startswith(("http://", "https://")) else [f"url is {self.url!r}, it must be an http URL"]
        if not self.infrastructure or "/" in self.infrastructure:
            found.append(f"infrastructure is {self.infrastructure!r}, it must be the id of one")
        if self.batch < 1:
            found.append(f"batch is {self.batch}, it must be at least 1")
        return found + (self.oidc.problems() if self.oidc else [])

    def make(self, name: str, cluster: str) -> ImCloud:
        """Create the cloud."""
        return ImCloud(name, self, cluster)


class _Made(msgspec.Struct):
    uri: str


class _VmStates(msgspec.Struct):
    vm_states: dict[str, str]


class _State(msgspec.Struct):
    state: _VmStates


class ImCloud:
    """One infrastructure. Other VMs in it, such as the front end, are not touched."""

    can_stop = True

    def __init__(self, name: str, config: ImConfig, cluster: str) -> None:
        self.name = name
        self._config = config
        self._cluster = cluster
        self._tokens = TokenSource(name, config.oidc) if config.oidc else None
        self._im = ImClient(name, config.url, config.auth_file, self._tokens, config.ca_file, config.timeout)
        self._here = f"/infrastructures/{config.infrastructure}"
        self._known: dict[str, VM] = {}  # by number, once it is final
        self._reasons: dict[str, str] = {}  # of failed VMs, by number
        self._posting = asyncio.Lock()
        self._unsure: set[str] = set()  # names of machines whose POST was not answered
        self._seen: set[str] = set()  # numbers
        self._grown = time.monotonic()  # when a new number last appeared

    def check(self, template: Mapping[str, Any]) -> list[str]:
        """Check the template against ``ImTemplate``."""
        try:
            read = msgspec.convert(template, ImTemplate)
        except msgspec.ValidationError as error:
            return [f"template: {error}"]
        return [] if read.networks else ["template.networks is empty, it must name networks of the infrastructure"]

    async def open(self) -> None:
        """Check that the infrastructure exists."""
        await self._im.get(self._here)

    async def close(self) -> None:
        """Close all connections."""
        await self._im.close()

    def expires(self) -> float | None:
        """Return when the OIDC token expires."""
        return self._tokens.expires() if self._tokens else None

    async def machines(self) -> list[CloudMachine]:
        """Return the machines, by one request and one more for each VM that is new or has no address yet."""
        states = await self._states()
        vms = await self._look(number for number in states)
        return [await self._machine(vm, states[vm.id]) for vm in vms if vm.cluster == self._cluster]

    async def create(self, requests: Sequence[MachineRequest]) -> dict[str, str]:
        """Request machines by one POST for each ``batch``. VMs that IM could not launch are removed immediately."""
        async with self._posting:
            there = {machine.name for machine in await self.machines()}
            new = [each for each in requests if each.name not in there]
            self._wait_for_settling(new)
            refused: dict[str, str] = {}
            for start in range(0, len(new), self._config.batch):
                try:
                    refused |= await self._post(new[start : start + self._config.batch])
                except CloudUnavailable:
                    raise
                except CloudError as error:
                    if start == 0:
                        raise
                    # earlier batches were created, so the rest is reported as refused machine by machine
                    refused |= {each.name: str(error) for each in new[start:]}
                    break
            return refused

    def _wait_for_settling(self, requests: Sequence[MachineRequest]) -> None:
        """Raise CloudUnavailable while IM may still be creating machines that are requested again."""
        again = {each.name for each in requests if each.again or each.name in self._unsure}
        if again and time.monotonic() - self._grown < self._config.settle:
            raise CloudUnavailable(
                f"{self.name}: an earlier request may still be in progress, {min(again)} is part of it"
            )
        self._unsure -= again

    async def delete(self, ids: Collection[str]) -> None:
        """Delete machines by one request."""
        numbers = await self._numbers(ids)
        if numbers:
            await self._remove(numbers)

    async def stop(self, ids: Collection[str]) -> None:
        """Stop machines by concurrent requests."""
        await self._each("stop", ids)

    async def start(self, ids: Collection[str]) -> None:
        """Start machines by concurrent requests."""
        await self._each("start", ids)

    async def headroom(self, template: Mapping[str, Any]) -> Headroom:
        """Return what the cloud's quota allows, if the template names the cloud and IM can read its quota."""
        wanted = msgspec.convert(template, ImTemplate)
        if not wanted.cloud:
            return Headroom(None)
        try:
            answer = await self._im.get(f"/clouds/{wanted.cloud}/quotas")
            quotas = msgspec.convert((answer or {}).get("quotas"), dict[str, Quota])
        except CloudUnavailable:
            raise
        except (CloudError, msgspec.ValidationError):
            return Headroom(None, "the cloud does not report its quota")
        return headroom_in(quotas, {"instances": 1, "cores": wanted.cpu, "ram": wanted.memory / 1024})

    async def _post(self, requests: Sequence[MachineRequest]) -> dict[str, str]:
        template = msgspec.convert(requests[0].template, ImTemplate)
        radl = im_radl.request(template, self._cluster, requests)
        names = {each.name for each in requests}
        self._unsure |= names  # also if the call is cancelled
        try:
            answer = await self._im.post(self._here, radl, {"context": "0"}, self._config.change_timeout)
            made = self._read((answer or {}).get("uri-list", []), list[_Made])
        except CloudUnavailable:
            self._grown = time.monotonic()
            raise
        except CloudError:
            self._unsure -= names
            raise
        self._unsure -= names
        return await self._refused({each.uri.rpartition("/")[2] for each in made})

    def _read(self, answer: Any, kind: type[T]) -> T:
        """Decode a part of an answer. Raises CloudUnavailable if it has an unexpected form."""
        try:
            return msgspec.convert(answer, kind)
        except msgspec.ValidationError as error:
            raise CloudUnavailable(f"{self.name}: IM's answer cannot be read: {error}") from error

    async def _refused(self, numbers: Collection[str]) -> dict[str, str]:
        """Return the new VMs that could not be launched, with reasons, and remove their records from IM."""
        states = await self._states()
        failed = {number for number in numbers if states.get(number) == "failed"}
        refused = {vm.name: await self._why(vm.id) for vm in await self._look(failed)}
        if failed:
            await self._remove(failed)
        return refused

    async def _states(self) -> dict[str, str]:
        """Return IM's state of all VMs of the infrastructure by number."""
        answer = await self._im.get(f"{self._here}/state")
        states = self._read(answer, _State).state.vm_states
        if not states.keys() <= self._seen:
            self._seen |= states.keys()
            self._grown = time.monotonic()
        return states

    async def _look(self, numbers: Iterable[str]) -> list[VM]:
        """Return these VMs, except those that no longer exist."""
        found = await asyncio.gather(*(self._vm(number) for number in numbers))
        return [vm for vm in found if vm is not None]

    async def _vm(self, number: str, fresh: bool = False) -> VM | None:
        if not fresh and (known := self._known.get(number)):
            return known
        settled = not self._posting.locked()
        try:
            answer = await self._im.get(f"{self._here}/vms/{number}")
        except Gone:
            self._known.pop(number, None)
            return None
        vm = im_radl.read_vm(number, self._read((answer or {}).get("radl") or [], list[dict[str, Any]]))
        if settled and not self._posting.locked() and (vm.address or not vm.cluster):
            self._known[number] = vm
        return vm

    async def _machine(self, vm: VM, im_state: str) -> CloudMachine:
        state = im_radl.STATES.get(im_state, "running")
        return CloudMachine(
            id=f"{vm.id}/{vm.name}",
            name=vm.name,
            pool=vm.pool,
            state=state,
            provider_id=provider_id(self._cluster, vm.name),
            address=vm.address,
            reason=await self._why(vm.id) or "the cloud no longer has it" if state == "failed" else "",
        )

    async def _why(self, number: str) -> str:
        """Return why a VM failed. The answer is cached."""
        if number not in self._reasons:
            try:
                answer = await self._im.get(f"{self._here}/vms/{number}/contmsg")
            except Gone:
                return ""
            words = reason(str((answer or {}).get("contmsg", "")))
            self._reasons[number] = f"no room: {words}" if is_no_room(words) else words
        return self._reasons[number]

    async def _numbers(self, ids: Iterable[str]) -> list[str]:
        """Return the numbers that still belong to these machines, once all numbers are final."""
        wanted = {number: name for number, _, name in (each.partition("/") for each in ids)}
        async with self._posting:
            vms = await asyncio.gather(*(self._vm(number, fresh=True) for number in wanted))
        return sorted(vm.id for vm in vms if vm and vm.name == wanted[vm.id] and vm.cluster == self._cluster)

    async def _remove(self, numbers: Collection[str]) -> None:
        path = f"{self._here}/vms/{','.join(sorted(numbers))}"
        try:
            await self._im.delete(path, {"context": "0"}, self._config.change_timeout)
        except Gone as error:  # one was just removed; IM then removes none
            raise CloudUnavailable(str(error)) from error
        for number in numbers:
            self._known.pop(number, None)
            self._reasons.pop(number, None)

    async def _each(self, operation: str, ids: Collection[str]) -> None:
        numbers = await self._numbers(ids)
        await asyncio.gather(*(self._im.put(f"{self._here}/vms/{number}/{operation}") for number in numbers))
