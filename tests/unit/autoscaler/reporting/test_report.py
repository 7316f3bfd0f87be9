# SPDX-License-Identifier: Apache-2.0
"""The history and the page that is made of it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest

from oscar_fedcloud.autoscaler.model import ClusterSnapshot, MachinePhase, MachineView, NodeView, Pool
from oscar_fedcloud.autoscaler.reporting import report
from oscar_fedcloud.autoscaler.reporting.history import History, Past
from oscar_fedcloud.autoscaler.reporting.metrics import Metrics
from oscar_fedcloud.autoscaler.reporting.sampler import Sampler, shares, state_of

HOUR = 3600.0
START = 1_800_000_000.0 // HOUR * HOUR
POOL = Pool("small", "here", {}, {"cpu": 4000}, price=0.5, watts=200.0)


def machine(name: str, phase: MachinePhase = "joined") -> MachineView:
    return MachineView(name, "small", phase, START, START)


def node(name: str, *, jobs: int = 0, ready: bool = True) -> NodeView:
    return NodeView(name, "small", ready, True, {}, (), {}, jobs=jobs)


def look_for_hours(history: History, hours: int, states: dict[tuple[str, str], int], used: float = 0.5) -> None:
    for minute in range(hours * 60 + 1):
        usage = {("small", "grayify"): used, ("small", ""): 1 - used}
        history.record(START + minute * 60, states, usage)


def past_of(history: History, hours: float) -> Past:
    history.write(history.take(), 0.0)
    return history.read(START, START + hours * HOUR)


def test_node_hours_price_and_energy_are_those_of_the_services(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    look_for_hours(history, 2, {("small", "busy"): 1})
    past = past_of(history, 3)
    rows = {row[0]: row[1:] for row in report.service_rows(past, {"small": POOL})}
    assert rows["grayify"] == ("1.00", "0.50", "0.20 kWh")
    assert rows["(nobody)"] == ("1.00", "0.50", "0.20 kWh")
    [row] = report.pool_rows(past, {"small": POOL})
    assert row == ("small", "2.00", "100 %", "", "1.00", "0.40 kWh")


def test_what_is_not_stated_costs_nothing_in_the_report(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    look_for_hours(history, 1, {("small", "idle"): 3})
    [row] = report.pool_rows(past_of(history, 2), {"small": Pool("small", "here", {}, {})})
    assert row == ("small", "3.00", "0 %", "", "", "")


def test_time_in_which_nobody_looked_counts_for_a_minute_at_most(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    history.record(START, {("small", "busy"): 1}, {})
    history.record(START + 10 * HOUR, {("small", "busy"): 1}, {})
    history.write(history.take(), 0.0)
    assert sum(history.read(START, START + 11 * HOUR).states.values()) == 60


def test_history_is_kept_over_restarts_and_not_for_ever(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    history.waited(START, "grayify", 12.0)
    history.started(START, "small", 34.0)
    look_for_hours(history, 1, {("small", "busy"): 1})
    assert past_of(history, 2).waits == ((START, "grayify", 12.0),)
    after = History(tmp_path / "h.db")
    assert after.read(START, START + HOUR).starts == (("small", 34.0),)
    after.write(after.take(), START + 30 * 60)
    kept = after.read(START, START + 2 * HOUR)
    assert kept.waits == ()
    assert min(minute for minute, _, _ in kept.states) >= START + 30 * 60


def test_the_chart_shows_as_many_machines_as_there_were() -> None:
    minutes = {(int(START) + 60 * minute, "small", "busy"): 60.0 * 4 for minute in range(60)}
    past = Past(START, START + HOUR, minutes, {}, (), ())
    shown = report.chart(past)
    assert ">4</text>" in shown
    assert ">2</text>" in shown


@pytest.mark.parametrize("hours", [0.1, 1.0, 24.0, 24.0 * 366])
def test_the_page_is_whole_and_needs_nothing_else(hours: float) -> None:
    states = {(int(START) + 60, "<b>", "busy"): 60.0, (int(START), "small", "starting"): 30.0}
    past = Past(START, START + hours * HOUR, states, {("<b>", "<i>"): 5.0}, ((START, "<i>", 1.0),), ())
    page = report.page(past, {"small": POOL}, "os&car")
    assert "<b>" not in page
    assert "os&amp;car" in page
    open_tags: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            assert not any(name == "src" for name, _ in attributes)
            if tag not in ("meta", "circle"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            if tag != "circle":
                assert open_tags.pop() == tag

    Tags().feed(page)
    assert open_tags == []


def test_quantiles() -> None:
    values = [float(each) for each in range(1, 101)]
    assert (report.quantile(values, 0.5), report.quantile(values, 0.95), report.quantile(values, 1.0)) == (50, 95, 100)
    assert report.quantile([7.0], 0.5) == 7.0


def test_states_are_those_of_machines_and_their_nodes() -> None:
    assert state_of(machine("a", "asked"), None) == "starting"
    assert state_of(machine("a"), node("a", jobs=1)) == "busy"
    assert state_of(machine("a"), node("a")) == "idle"
    assert state_of(machine("a"), node("a", ready=False)) == "unready"
    assert state_of(machine("a"), None) == "unready"
    assert state_of(machine("a", "draining"), node("a")) == "leaving"


def test_a_node_is_shared_by_what_its_pods_ask_for() -> None:
    snapshot = ClusterSnapshot(START, (), {"a": node("a")}, {"a": machine("a"), "b": machine("b")})
    found = shares(snapshot, {"small": POOL}, {"a": {"grayify": 1000, "": 500}})
    assert found == {("small", "grayify"): 0.25, ("small", "(others)"): 0.125, ("small", ""): 0.625}


def test_a_wait_ends_when_the_pod_waits_no_more(tmp_path: Path) -> None:
    history = History(tmp_path / "h.db")
    sampler = Sampler(history, Metrics(), lambda pod: "grayify")
    empty = ClusterSnapshot(START, (), {}, {})
    sampler.note(empty, {}, {"team/a": START - 5}, {})
    sampler.note(ClusterSnapshot(START + 7, (), {}, {}), {}, {}, {})
    assert past_of(history, 1).waits == ((START + 7, "grayify", 12.0),)
