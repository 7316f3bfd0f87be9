# SPDX-License-Identifier: Apache-2.0
"""Random histories: whatever happens in whatever order, the ledger keeps its promises."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from parts.ledger_facts import begin, end, event, recording, store

from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import Attempt, RunState, object_id, run_id
from oscar_fedcloud.ledger import ENDED, Ledger, StateError, allowed

SERVICES = ("one", "two")
EVENTS = [event(key, f"r{order}", order) for key in ("a", "b", "c") for order in (1, 2, 3)]
VERDICTS = sorted({state for state in RunState if allowed(RunState.RUNNING, state)})


@dataclass
class Expected:
    """What the ledger should say of a run."""

    service: str
    event: StorageEvent
    state: RunState = RunState.QUEUED
    attempts: int = 0
    successes: int = 0
    replays: int = 0
    attempt: Attempt | None = None


class LedgerMachine(RuleBasedStateMachine):
    """Drives a ledger, next to a dictionary that does the same."""

    template: Path

    @initialize()
    def open(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
        shutil.copy(self.template, self.folder / "ledger.db")
        self.ledger = Ledger.open(f"sqlite:///{self.folder}/ledger.db")
        self.expected: dict[str, Expected] = {}
        self.barred: set[str] = set()

    @rule(chosen=st.lists(st.tuples(st.sampled_from(EVENTS), st.sets(st.sampled_from(SERVICES), min_size=1))))
    def record(self, chosen: list[tuple[StorageEvent, set[str]]]) -> None:
        store(self.ledger, *(recording(found, *sorted(services)) for found, services in chosen))
        for found, services in chosen:
            for service in services:
                name = run_id(service, found)
                if name not in self.barred:
                    self.expected.setdefault(name, Expected(service, found))

    @rule(service=st.sampled_from(SERVICES), limit=st.integers(1, 5))
    def dispatch(self, service: str, limit: int) -> None:
        candidates = self.ledger.due(service, time.time(), limit)
        starts = [item.run for item in candidates if not item.newer and not item.busy]
        superseded = [item.run.id for item in candidates if item.newer]
        self.ledger.begin([], superseded, time.time())
        for name in superseded:
            self._go(name, RunState.SUPERSEDED)
        for attempt in begin(self.ledger, *starts):
            self._go(attempt.run_id, RunState.RUNNING)
            self.expected[attempt.run_id].attempts += 1
            self.expected[attempt.run_id].attempt = attempt

    @rule(pick=st.randoms(use_true_random=False), state=st.sampled_from(VERDICTS))
    def finish(self, pick: object, state: RunState) -> None:
        begun = [item for item in self.expected.values() if item.attempt is not None]
        if not begun:
            return
        item = pick.choice(begun)  # type: ignore[attr-defined]
        assert item.attempt is not None
        was_running = item.state is RunState.RUNNING
        ended = end(self.ledger, item.attempt, state)
        assert (ended is not None) == was_running
        if was_running:
            self._go(item.attempt.run_id, state)
            item.successes += state is RunState.SUCCEEDED

    @rule(pick=st.randoms(use_true_random=False), how=st.sampled_from(["cancel", "retry", "replay", "delete"]))
    def intervene(self, pick: object, how: str) -> None:
        if not self.expected:
            return
        name = pick.choice(sorted(self.expected))  # type: ignore[attr-defined]
        state = self.expected[name].state
        if how == "cancel":
            assert self.ledger.cancel_queued(name) == (state is RunState.QUEUED)
            if state is RunState.QUEUED:
                self._go(name, RunState.CANCELLED)
        elif how == "delete":
            assert self.ledger.delete_run(name) == (state in ENDED)
            if state in ENDED:
                del self.expected[name]
                self.barred.add(name)
        elif state in ENDED and (how == "replay" or state is not RunState.SUCCEEDED):
            getattr(self.ledger, how)(name, time.time())
            self._go(name, RunState.QUEUED)
            self.expected[name].replays += how == "replay"
        else:
            with pytest.raises(StateError):
                getattr(self.ledger, how)(name, time.time())

    @rule(service=st.sampled_from(SERVICES), found=st.lists(st.sampled_from(EVENTS)))
    def baseline(self, service: str, found: list[StorageEvent]) -> None:
        self.ledger.record_baseline(service, found)
        self.barred |= {run_id(service, item) for item in found} - self.expected.keys()

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(f"sqlite:///{self.folder}/ledger.db")
        adopted = {run.id: attempt for run, attempt in self.ledger.running()}
        assert adopted == {name: item.attempt for name, item in self.expected.items() if item.state is RunState.RUNNING}

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        runs = self.ledger.runs(limit=1000)
        assert len({run.id for run in runs}) == len(runs)
        found = {run.id: (run.state, run.attempts) for run in runs}
        assert found == {name: (item.state, item.attempts) for name, item in self.expected.items()}

    @invariant()
    def counts_agree(self) -> None:
        counted = {(name, state): n for name, states in self.ledger.counts().items() for state, n in states.items()}
        assert counted == Counter((item.service, item.state.value) for item in self.expected.values())

    @invariant()
    def one_at_a_time_for_each_object(self) -> None:
        running = Counter(object_id(run.service, run.event) for run, _ in self.ledger.running())
        assert all(count == 1 for count in running.values())

    @invariant()
    def one_recorded_success_for_each_time_it_was_asked_for(self) -> None:
        assert all(item.successes <= 1 + item.replays for item in self.expected.values())

    def _go(self, name: str, state: RunState) -> None:
        item = self.expected[name]
        assert allowed(item.state, state), f"{item.state} -> {state}"
        item.state = state

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)


def test_random_histories(sqlite_file: Path) -> None:
    LedgerMachine.template = sqlite_file
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
