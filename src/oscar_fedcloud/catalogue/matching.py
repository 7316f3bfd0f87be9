# SPDX-License-Identifier: Apache-2.0
"""Finds the services that an object concerns, in memory and independently of the number of services."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from oscar_fedcloud.domain.events import EventOutcome, Recording, StorageEvent
from oscar_fedcloud.domain.jsontext import from_json
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.fdl import FdlProblem, Service, make_problem, match
from oscar_fedcloud.storage.object_keys import stageable

_SHOWN = 200  # characters of an error of a filter


class Matcher:
    """An index of the inputs of all services, by provider, bucket and folder."""

    def __init__(self, services: Iterable[Service], max_depth: int) -> None:
        self.max_depth = max_depth
        self._inputs: dict[tuple[str, str], dict[str, list[Service]]] = {}
        self._filters: dict[str, Any] = {}
        for service in services:
            if service.filter:
                self._filters[service.name] = jmespath.compile(service.filter)
            for source in service.input:
                folders = self._inputs.setdefault((source.storage_provider, source.bucket), {})
                here = folders.setdefault(source.key_prefix, [])
                if service not in here:
                    here.append(service)

    def recording(self, event: StorageEvent) -> Recording:
        """Return the event with the services that run for it, or with the reason why none does."""
        accepted: list[str] = []
        refused: list[str] = []
        for service in self._candidates(event):
            if service.name in accepted:
                continue
            reason = self._refusal(service, event)
            if reason is None:
                accepted.append(service.name)
            elif reason:
                refused.append(f"{service.name}: {reason}")
        outcome, detail = self._outcome(event, accepted, refused)
        return Recording(event, tuple(accepted) if outcome is EventOutcome.MATCHED else (), outcome, detail)

    def _outcome(self, event: StorageEvent, accepted: list[str], refused: list[str]) -> tuple[EventOutcome, str]:
        if not accepted:
            return (EventOutcome.FILTERED, "; ".join(refused)) if refused else (EventOutcome.NO_SERVICE, "")
        if event.depth > self.max_depth:
            return EventOutcome.TOO_DEEP, f"{event.depth} services precede it, {self.max_depth} are allowed"
        if not stageable(event.key):
            return EventOutcome.BAD_KEY, "a key with an empty, '.' or '..' path segment cannot be staged"
        return EventOutcome.MATCHED, "; ".join(refused)

    def _candidates(self, event: StorageEvent) -> Iterator[Service]:
        folders = self._inputs.get((event.provider, event.bucket))
        if not folders:
            return
        yield from folders.get("", ())
        end = event.key.find("/")
        while end >= 0:
            yield from folders.get(event.key[: end + 1], ())
            end = event.key.find("/", end + 1)

    def _refusal(self, service: Service, event: StorageEvent) -> str | None:
        """Return why the event is filtered; None if the service runs, "" if it is not an input of the service."""
        found = match(service, event.provider, event.bucket, event.key)
        if found.kind == "no":
            return ""
        if found.kind != "match":
            return f"the {found.kind} rule of its input leaves this key out"
        compiled = self._filters.get(service.name)
        if compiled is None:
            return None
        try:
            return None if _true(compiled.search(from_json(event.record))) else "its filter is not true for this event"
        except Exception as error:  # errors of JMESPath, and others on an unexpected record
            return f"its filter failed on this event ({str(error)[:_SHOWN] or type(error).__name__})"

    def prefixes(self, provider: str) -> list[Prefix]:
        """Return all inputs at one provider, each once."""
        return [
            Prefix(bucket, folder)
            for (name, bucket), folders in self._inputs.items()
            if name == provider
            for folder in folders
        ]

    def buckets(self, provider: str) -> dict[str, list[str]]:
        """Return the prefixes of all inputs at one provider, by bucket."""
        return {bucket: list(folders) for (name, bucket), folders in self._inputs.items() if name == provider}


def _true(value: Any) -> bool:
    """Return the truth value as JMESPath defines it: false, null and empty values are false, zero is true."""
    return value is not False and value is not None and value not in ("", [], {})


def filter_rule(service: Service) -> Iterator[FdlProblem]:
    """Check a service's filter; a rule for the FDL parser."""
    if not service.filter:
        return
    hint = "a JMESPath expression such as s3.object.size > `0`"
    try:
        jmespath.compile(service.filter)
    except (JMESPathError, ValueError) as error:
        yield make_problem("filter", service.filter, f"is not JMESPath ({str(error).splitlines()[0]})", hint)
    except RecursionError:
        yield make_problem("filter", service.filter, "is not JMESPath (it is nested too deep)", hint)
