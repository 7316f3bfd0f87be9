# SPDX-License-Identifier: Apache-2.0
"""Where several reasons become one text, each stands between semicolons, and none stands at the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oscar_fedcloud.catalogue.matching import Matcher
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import Run, RunState
from oscar_fedcloud.fdl import Input, Service
from oscar_fedcloud.invocations.wait_reasons import ServiceFacts, SiteFacts, wait_of
from oscar_fedcloud.launchers.process.container import find_engine
from oscar_fedcloud.runtime.waiting import Troubles

EVENT = StorageEvent("minio.default", "data", "in/a.txt", "r1", 1)


def refused() -> str:
    services = [Service(name=name, input=(Input("minio.default", "data/in", suffix=(".jpg",)),)) for name in "ab"]
    return Matcher(services, 5).recording(EVENT).detail


def troubles() -> str:
    found = Troubles()
    found.note("one", "it failed", 1.0)
    found.note("two", "it failed", 1.0)
    return found.detail()


def history() -> str:
    run = Run("r1", "svc", EVENT, RunState.QUEUED, "", 0, 1, 1, 0.0, 0.0, None)
    facts = ServiceFacts("svc", "ready")
    site = SiteFacts(1.0, 0, 8, lambda name: facts, lambda run: "", lambda run: False, lambda run: None)
    wait = wait_of(replace(run, attempts=1, reason="its node is gone"), site)
    assert wait is not None
    return wait.detail


def engines(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("shutil.which", lambda name: None)
    return str(find_engine())


def test_reasons_stand_between_semicolons(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (refused(), troubles(), history(), engines(monkeypatch)):
        assert "; " in text
        assert all(part.strip() for part in text.split(";")), text
