# SPDX-License-Identifier: Apache-2.0
"""Explains why a file did or did not run, from the ledger's record of each revision of its key and the services.

All functions are pure.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from oscar_fedcloud.domain.events import EventOutcome
from oscar_fedcloud.domain.explanations import Explanation, ExplanationCode
from oscar_fedcloud.domain.runs import Run, RunState
from oscar_fedcloud.fdl import Input, Service, match
from oscar_fedcloud.invocations.wait_reasons import Wait
from oscar_fedcloud.ledger import Trace

_BY_STATE: dict[RunState, ExplanationCode] = {
    RunState.QUEUED: "waiting",
    RunState.RUNNING: "running",
    RunState.SUCCEEDED: "ran",
    RunState.FAILED: "failed",
    RunState.SUPERSEDED: "superseded",
    RunState.INPUT_GONE: "input_gone",
    RunState.CANCELLED: "cancelled",
}
_BY_OUTCOME: dict[EventOutcome, ExplanationCode] = {
    EventOutcome.NO_SERVICE: "no_service",
    EventOutcome.FILTERED: "filtered",
    EventOutcome.TOO_DEEP: "too_deep",
    EventOutcome.BAD_KEY: "bad_key",
}
_SHOWN = 5  # services or folders named in a sentence
_OF_SERVICE = re.compile(r"(?:^|; )([a-z0-9][a-z0-9-]*): ")  # where the matcher names a service and its reason


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts used in addition to the ledger's traces.

    Attributes:
        services: the declared services by name.
        unready: why a service is not ready, by its name.
        buckets: the buckets of the site's own store, None if it does not respond.
        exists: whether the store has the object, None if unknown.
        note: a remark of the store about the object, such as that it is a symbolic link.
        waits: what the runs wait for, by their ids.
    """

    services: Mapping[str, Service] = field(default_factory=dict)
    unready: Mapping[str, str] = field(default_factory=dict)
    buckets: frozenset[str] | None = None
    exists: bool | None = None
    note: str = ""
    waits: Mapping[str, Wait] = field(default_factory=dict)


def answers(traces: Iterable[Trace], bucket: str, key: str, service: str, facts: Facts) -> list[Explanation]:
    """Return one explanation for each service and revision of a key, newest revision first.

    Args:
        service: only for this service; empty means all.
    """
    found = [answer for trace in traces for answer in _answers(trace, bucket, key, facts)]
    chosen = [answer for answer in found if not service or answer.service in ("", service)]
    return chosen or unseen(bucket, key, service, facts)


def _answers(trace: Trace, bucket: str, key: str, facts: Facts) -> Iterator[Explanation]:
    for run in trace["runs"]:
        yield Explanation(run.service, _BY_STATE[run.state], _detail(run, facts.waits.get(run.id)), run.id)
    for name in trace["seen"]:
        yield Explanation(
            name, "baseline", "this revision was there before the service, or its history has been pruned"
        )
    outcome, detail = trace["outcome"], trace["detail"]
    if outcome is EventOutcome.NO_SERVICE:
        told = f"no service took it when it came; {_now(bucket, key, facts)}"
        yield Explanation(_concerned(bucket, facts), "no_service", told)
    elif outcome in _BY_OUTCOME and outcome is not EventOutcome.FILTERED:
        yield Explanation("", _BY_OUTCOME[outcome], detail)
    elif detail:
        yield from _filtered(detail)


def _filtered(detail: str) -> Iterator[Explanation]:
    """Yield one explanation for each service that the matcher named."""
    parts = _OF_SERVICE.split(detail)
    if len(parts) < 3:
        yield Explanation("", "filtered", detail)
    for name, reason in zip(parts[1::2], parts[2::2], strict=False):
        yield Explanation(name, "filtered", reason)


def _detail(run: Run, wait: Wait | None) -> str:
    if wait is not None:
        return wait.detail
    attempts = f"attempt {run.attempts}" if run.attempts else "no attempt yet"
    return f"{run.reason} ({attempts})" if run.reason else attempts


def unseen(bucket: str, key: str, service: str, facts: Facts) -> list[Explanation]:
    """Explain why nothing is known of an object: which services watch which folders, and what is missing."""
    if service and service not in facts.services:
        near = difflib.get_close_matches(service, list(facts.services), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return [Explanation(service, "no_service", f"service {service} is not declared{hint}")]
    chosen = {name: one for name, one in facts.services.items() if service in ("", name)}
    if key.endswith("/"):
        return [Explanation(service or _concerned(bucket, facts), "no_service", _folder(bucket, key, chosen))]
    found = [answer for name, one in chosen.items() for answer in _covering(name, one, bucket, key, facts)]
    return found or [Explanation(service or _concerned(bucket, facts), "no_service", _now(bucket, key, facts, service))]


def _covering(name: str, service: Service, bucket: str, key: str, facts: Facts) -> Iterator[Explanation]:
    """Yield the explanation for a service that has an input around the key."""
    kinds = [match(service, one.storage_provider, bucket, key) for one in service.input if one.bucket == bucket]
    if any(found.kind == "match" for found in kinds):
        yield Explanation(name, "unknown", _not_shown(name, bucket, key, facts))
    elif excluded := [found for found in kinds if found.kind != "no"]:
        yield Explanation(name, "filtered", _rule(service.input[excluded[0].input]))


def _rule(place: Input) -> str:
    """Return a description of the names that an input accepts."""
    rules = {"start with": place.prefix, "end in": place.suffix}
    words = " and ".join(f"{word} {' or '.join(names)}" for word, names in rules.items() if names)
    return f"its input {place.bucket}/{place.key_prefix} takes only names that {words}"


def _not_shown(name: str, bucket: str, key: str, facts: Facts) -> str:
    if facts.note:
        return facts.note
    if facts.buckets is not None and bucket not in facts.buckets:
        return f"bucket {bucket} does not exist; it is made again for service {name}"
    if facts.exists is False:
        return f"the store has no object {bucket}/{key}; service {name} takes it when it is uploaded"
    told = "no event and no listing has shown this object so far"
    if reason := facts.unready.get(name):
        return f"{told}, and service {name} is not ready: {reason}"
    return f"{told}; the next listing of {bucket} finds it" if facts.exists else told


def _now(bucket: str, key: str, facts: Facts, service: str = "") -> str:
    """Describe which folder is not watched, and which are."""
    folder = key.rpartition("/")[0]
    where = f"{bucket}/{folder}/" if folder else f"{bucket}/"
    inputs = [(name, one) for name, item in facts.services.items() for one in item.input if service in ("", name)]
    here = [(name, one) for name, one in inputs if one.bucket == bucket]
    missing = facts.buckets is not None and bucket not in facts.buckets
    nobody = f"service {service} does not watch {where}" if service else f"no service watches {where}"
    parts = [f"bucket {bucket} does not exist" if missing else nobody]
    covered = [(name, one) for name, one in here if key.startswith(one.key_prefix)]
    if covered and not key.endswith("/"):
        parts = [f"{covered[0][0]} watches {bucket}/{covered[0][1].key_prefix} now: upload the object again"]
    elif watched := (here or inputs):
        parts.append(_list(f"{name} watches {one.bucket}/{one.key_prefix}" for name, one in watched))
    else:
        parts.append("no service has an input" if not service else f"service {service} has no input")
    if writers := [name for name, item in facts.services.items() if _writes(item, bucket, key)]:
        parts.append(_list(f"{name} writes there" for name in writers))
    return ", ".join(parts)


def _folder(bucket: str, key: str, services: Mapping[str, Service]) -> str:
    inputs = [(name, one) for name, item in services.items() for one in item.input if one.bucket == bucket]
    near = [pair for pair in inputs if key.startswith(pair[1].key_prefix) or pair[1].key_prefix.startswith(key)]
    who = _list(f"{name} watches {bucket}/{one.key_prefix}" for name, one in near) or "no service watches it"
    return f"{key} is a folder, ask for a file in it; {who}"


def _writes(service: Service, bucket: str, key: str) -> bool:
    return any(
        one.bucket == bucket and key.startswith(f"{one.folder}/" if one.folder else "") for one in service.output
    )


def _concerned(bucket: str, facts: Facts) -> str:
    """Return the only service that reads from the bucket, or "" if there is none or there are several."""
    names = {name for name, item in facts.services.items() if any(one.bucket == bucket for one in item.input)}
    return next(iter(names)) if len(names) == 1 else ""


def _list(items: Iterable[str]) -> str:
    known = list(dict.fromkeys(items))
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more
