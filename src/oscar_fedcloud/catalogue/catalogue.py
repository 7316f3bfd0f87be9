# SPDX-License-Identifier: Apache-2.0
"""The declared services, in memory and in their repository: planning and applying changes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import structlog

from oscar_fedcloud.catalogue.entries import Entry, InputState, ServiceRepository, input_names
from oscar_fedcloud.catalogue.matching import Matcher
from oscar_fedcloud.domain.services import Change, Conflict, Declared, NotFound, Plan, PlanItem, ServiceState
from oscar_fedcloud.fdl import (
    FdlError,
    Loop,
    Service,
    diff_documents,
    find_loops,
    from_document,
    loop_problem,
    to_document,
)
from oscar_fedcloud.runtime.unexpected import report
from oscar_fedcloud.runtime.waiting import in_words
from oscar_fedcloud.storage import foreign

log = structlog.get_logger(__name__)

Write = Callable[[Sequence[Entry], Sequence[str]], dict[str, Exception]]  # as ServiceRepository.write


@dataclass(frozen=True, slots=True)
class WrittenChange:
    """The entries of a change that were stored, their services, and the failures, by service name."""

    entries: tuple[Entry, ...]
    services: Mapping[str, Service]
    failures: Mapping[str, Exception]


class Catalogue:
    """All declared services. Reads are plain dictionary look-ups.

    All tables belong to the event loop. Other threads may read ``declarations``, ``tokens``, ``matcher`` and
    ``services_by_input``, whose values are replaced as a whole.

    A change is planned, written in a thread and then committed on the event loop, all under the lock ``changing``.
    """

    def __init__(self, repository: ServiceRepository, max_depth: int, stores: Collection[str]) -> None:
        self.repository = repository
        self.stores = frozenset(stores)  # ids of the site's own storage providers
        self.max_depth = max_depth
        self.entries: dict[str, Entry] = {}
        self.services: dict[str, Service] = {}
        self.states: dict[str, tuple[ServiceState, str]] = {}
        self.declarations: dict[str, Declared] = {}  # all of the above in one immutable value
        self.unusable: dict[str, str] = {}  # services whose stored entry cannot be used -> why
        self.rejected: dict[str, str] = {}  # services whose newer document in the repository is not valid -> why
        self.tokens: dict[str, str] = {}  # token -> service
        self.matcher = Matcher((), max_depth)
        self.services_by_input: dict[str, list[str]] = {}  # input, as provider/bucket/prefix -> services
        self.changing = asyncio.Lock()

    def load(self) -> None:
        """Read the repository. Services become ready when the reconciler has processed them.

        A service that cannot be used, e.g. because this version rejects its document, is skipped and listed in
        ``unusable``.
        """
        for entry in self.repository.load():
            try:
                self._install(entry, from_document(entry.document))
            except Exception as error:
                self.unusable[str(getattr(entry, "name", "?"))] = in_words(error)
                report(log, "a declared service cannot be used", error, service=getattr(entry, "name", "?"))
        self._index()

    def _install(self, entry: Entry, service: Service) -> None:
        self.unusable.pop(entry.name, None)
        self._drop_token(entry.name)
        self.entries[entry.name] = entry
        self.services[entry.name] = service
        self.tokens[service.token] = entry.name
        self.set_state(entry.name, "pending", "its buckets, rules and key are being made")

    def set_state(self, name: str, state: ServiceState, reason: str) -> None:
        """Set the state of a service."""
        self.states[name] = (state, reason)
        entry = self.entries[name]
        self.declarations[name] = Declared(self.services[name], entry.revision, state, reason, entry.created)
        self._report(name)

    def _report(self, name: str) -> None:
        try:
            self.repository.report(name)
        except Exception as error:  # the state in memory is what counts
            report(log, "the status of a service was not reported", error, service=name)

    def health(self) -> dict[str, dict[str, Any]]:
        """Return the health of the repository, and whether all of its services can be used."""
        found = self.repository.health()
        if self.unusable and all(part["ok"] for part in found.values()):
            names = "; ".join(f"service {name} cannot be used: {why}" for name, why in self.unusable.copy().items())
            found = {"catalogue": {"ok": False, "detail": f"{names}: declare it again"}}
        return found

    def _drop_token(self, name: str) -> None:
        if old := self.services.get(name):
            self.tokens.pop(old.token, None)

    def _index(self) -> None:
        self.matcher = Matcher(self.services.values(), self.max_depth)
        services_by_input: dict[str, list[str]] = {}
        for name, entry in self.entries.items():
            for source in entry.inputs:
                services_by_input.setdefault(source, []).append(name)
        self.services_by_input = services_by_input

    def declared(self, name: str) -> Declared | None:
        """Return the service with its state, or None."""
        found = self.declarations.get(name)
        if found is None or found.reason or not (rejected := self.rejected.get(name)):
            return found
        reason = f"revision {found.revision} stays active, since the document in the store is refused: {rejected}"
        return replace(found, reason=reason)

    def all_declared(self) -> list[Declared]:
        """Return all services with their states, sorted by name."""
        return [found for name in sorted(self.declarations.copy()) if (found := self.declared(name))]

    def token_of(self, name: str) -> str:
        """Return the token of a service, or "" if it is gone."""
        found = self.declarations.get(name)
        return found.service.token if found else ""

    def plan(self, change: Change) -> Plan:
        """Return what a change would do. Raises FdlError, Conflict, NotFound."""
        if change.state == "absent":
            return Plan(tuple(self._removal(name, change) for name in change.names))
        warnings = self._check(change)
        items = [self._declaration(service, change) for service in change.documents]
        if change.prune:
            kept = {service.name for service in change.documents}
            items += [self._removal(name, change) for name in self.entries if name not in kept]
        return Plan(tuple(items), tuple(warnings))

    def _check(self, change: Change) -> list[str]:
        """Raise FdlError for problems that only the whole catalogue shows; return the warnings."""
        places = {service.name: f"services[{index}]" for index, service in enumerate(change.documents)}
        declared = {service.name: service for service in change.documents}
        whole = {**({} if change.prune else self.services), **declared}
        problems = [
            problem
            for name, service in declared.items()
            for problem in foreign.problems(service, places[name], self.stores, whole.values())
        ]
        loops = [loop for loop in find_loops(whole.values()) if places.keys() & set(loop.services)]
        problems += [loop_problem(loop, _place_of(loop, places)) for loop in loops if not loop.breakable]
        if problems:
            raise FdlError(problems)
        return [loop.message for loop in loops]

    def _declaration(self, service: Service, change: Change) -> PlanItem:
        current = self.entries.get(service.name)
        self._expect(service.name, current, change.expect_revision)
        wanted = self.completed(service)
        after = to_document(wanted, secrets=False)
        if current is None:
            return PlanItem(service.name, "create", None, after, tuple(diff_documents(None, to_document(wanted))), 1)
        changes = tuple(diff_documents(current.document, to_document(wanted)))
        before = to_document(self.services[service.name], secrets=False)
        if not changes and service.name not in self.rejected:
            return PlanItem(service.name, "unchanged", before, after, (), current.revision)
        return PlanItem(service.name, "update", before, after, changes, current.revision + 1)

    def _removal(self, name: str, change: Change) -> PlanItem:
        current = self.entries.get(name)
        self._expect(name, current, change.expect_revision)
        if current is None:
            return PlanItem(name, "absent", None, None)
        before = to_document(self.services[name], secrets=False)
        return PlanItem(name, "delete", before, None, tuple(diff_documents(current.document, None)))

    def _expect(self, name: str, current: Entry | None, expected: int | None) -> None:
        if expected is None:
            return
        revision = current.revision if current else 0
        if expected and current is None:
            raise NotFound(f"service {name} does not exist")
        if revision != expected:
            raise Conflict(f"service {name} is at revision {revision}, expected {expected}")

    def completed(self, service: Service) -> Service:
        """Return the service with what the server adds: an owner, and its token, which updates keep."""
        old = self.services.get(service.name)
        token = service.token or (old.token if old else "")
        return replace(service, token=token, owner=service.owner or "cluster_admin")

    def write(self, change: Change, plan: Plan, write: Write | None = None) -> WrittenChange:
        """Store the planned change with ``write`` or the repository's own method. Blocks.

        Memory is updated by ``commit``.
        """
        wanted = {service.name: service for service in change.documents}
        moment = time.time() if change.declared is None else change.declared
        removed = [item.name for item in plan.items if item.action == "delete"]
        revisions = {item.name: item.revision for item in plan.items if item.action in ("create", "update")}
        services = {name: _with_token(self.completed(wanted[name])) for name in revisions}
        entries = [self._entry(services[name], revision, moment) for name, revision in revisions.items()]
        failures = (write or self.repository.write)(entries, removed)
        return WrittenChange(tuple(entry for entry in entries if entry.name not in failures), services, failures)

    def commit(self, plan: Plan, written: WrittenChange) -> None:
        """Apply to memory what was written. Must be called on the event loop, where all readers run."""
        for item in plan.items:
            if item.action == "delete" and item.name not in written.failures:
                self._remove(item.name)
        for entry in written.entries:
            self._install(entry, written.services[entry.name])
        self._index()

    def _entry(self, service: Service, revision: int, moment: float) -> Entry:
        old = self.entries.get(service.name)
        before = self.services.get(service.name)
        known = old.inputs if old else {}
        if before is not None:  # another endpoint is another store with unknown content
            moved = foreign.moved(before, service)
            known = {name: state for name, state in known.items() if name.partition("/")[0] not in moved}
        return Entry(
            name=service.name,
            revision=revision,
            created=old.created if old else moment,
            changed=moment,
            document=to_document(service),
            inputs={name: known.get(name, InputState(since=moment)) for name in input_names(service)},
        )

    def _remove(self, name: str) -> None:
        self._drop_token(name)
        for table in (self.declarations, self.entries, self.services, self.states, self.rejected):
            table.pop(name, None)

    def without_baseline(self) -> set[str]:
        """Return the inputs, as ``provider/bucket/prefix``, that still lack a baseline for some service."""
        states = (entry.inputs.items() for entry in self.entries.values())
        return {name for inputs in states for name, state in inputs if not state.baselined}

    async def mark_baselined(self, name: str, source: str) -> None:
        """Record that an input has its baseline, if the service still exists and has that input."""
        async with self.changing:
            entry = self.entries.get(name)
            if entry is None or source not in entry.inputs:
                return
            done = InputState(entry.inputs[source].since, baselined=True)
            entry = msgspec.structs.replace(entry, inputs={**entry.inputs, source: done})
            await asyncio.to_thread(self.repository.save_inputs, entry)
            self.entries[name] = entry
            self._report(name)

    def revision(self, name: str, revision: int | None) -> Service:
        """Return an earlier revision of a service; None means the previous one. Raises NotFound."""
        if name not in self.entries:
            raise NotFound(f"service {name} does not exist")
        for entry in self.repository.history(name):
            if revision is None or entry.revision == revision:
                return from_document(entry.document)
        wanted = "an earlier revision" if revision is None else f"revision {revision}"
        raise NotFound(f"service {name} has no {wanted}")

    def revisions(self, name: str) -> list[dict[str, Any]]:
        """Return all revisions of a service, newest first, with the time (s) of each declaration."""
        if name not in self.entries:
            raise NotFound(f"service {name} does not exist")
        entries = [self.entries[name], *self.repository.history(name)]
        return [{"revision": entry.revision, "changed": entry.changed} for entry in entries]


def _place_of(loop: Loop, places: Mapping[str, str]) -> str:
    """Return the place of the first service of a loop that the change declares."""
    return next(places[name] for name in loop.services if name in places)


def _with_token(service: Service) -> Service:
    """Return the service with a new token if it has none."""
    return service if service.token else replace(service, token=secrets.token_hex(32))
