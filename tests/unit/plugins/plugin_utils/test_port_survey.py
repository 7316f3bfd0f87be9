# SPDX-License-Identifier: Apache-2.0
"""What probes and captured packets mean, which port is chosen, and how facts of sites are merged."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.fedcloud.oscar.plugins.module_utils._ports.ports import Port, PortError, answer_to, parse_ports
from ansible_collections.fedcloud.oscar.plugins.plugin_utils._ports import survey
from ansible_collections.fedcloud.oscar.plugins.plugin_utils._ports.facts import merge, of_survey
from hypothesis import given
from hypothesis import strategies as st
from parts.ansible_run import ROOT

SCHEMA = json.loads((ROOT / "docs" / "ports.schema.json").read_text(encoding="utf-8"))

OURS = {"listener": "ours", "process": "", "unit": "", "local_only": False}
NGINX = {"listener": "other", "process": "nginx", "unit": "nginx.service", "local_only": False}
LOCAL = {**NGINX, "local_only": True}
NONE = {**OURS, "listener": "none"}

IN, OUT = (
    {"port": "443", "outgoing": outgoing, "source": source, "destination": destination, "peer_port": 4000}
    for outgoing, source, destination in ((False, "192.0.2.1", "10.0.0.4"), (True, "10.0.0.4", "192.0.2.1"))
)
FOREIGN = {**IN, "peer_port": 5000}
RENUMBERED = {**IN, "peer_port": 6000}  # ours, with another source port
PROBES = {
    "ours": ("open", "ours", ""),
    "other": ("open", "other", ""),
    "mute": ("open", "none", "connection reset by peer"),
    "refused": ("refused", "none", "connection refused"),
    "filtered": ("filtered", "none", "no answer"),
    "no way": ("filtered", "none", "network is unreachable"),
}


def row(probe: str, holder: dict[str, Any], *packets: dict[str, Any], capture: bool = True) -> dict[str, Any]:
    """The result for port 443 of a machine that another machine probes, too, from source port 5000."""
    state, answer, error = PROBES[probe]
    attempt = {"state": state, "answer": answer, "source_port": 4000, "error": error}
    other = {"state": "open", "answer": "ours", "source_port": 5000, "error": ""}
    listeners = {"front": {"ports": {"443": holder}, "capture": capture, "packets": list(packets)}}
    probes = {"controller": {"hosts": {"front": {"443": attempt}}}, "worker": {"hosts": {"front": {"443": other}}}}
    rows = survey.explain(listeners, probes)
    assert [found["from"] for found in rows] == ["controller", "worker"]
    return rows[0]


@pytest.mark.parametrize(
    ("found", "state", "cause", "site"),
    [
        (row("ours", OURS, IN, OUT), "open", "", "open"),
        (row("ours", OURS, capture=False), "open", "", "open"),
        (row("filtered", OURS, IN), "filtered", survey.OWN_FIREWALL, "open"),
        (row("refused", OURS, IN), "refused", survey.OWN_FIREWALL, "open"),
        (row("filtered", NGINX, IN), "filtered", survey.OWN_FIREWALL, "open"),
        (row("filtered", OURS, FOREIGN), "filtered", survey.OUTSIDE, "blocked"),
        (row("refused", OURS), "refused", survey.OUTSIDE, "blocked"),
        (row("refused", NONE), "refused", survey.OUTSIDE, "blocked"),
        (row("filtered", OURS, IN, OUT), "filtered", survey.WAY_BACK, "blocked"),
        (row("filtered", OURS, RENUMBERED), "filtered", survey.UNKNOWN, "unknown"),
        (row("filtered", OURS, capture=False), "filtered", survey.UNKNOWN, "unknown"),
        (row("refused", NONE, capture=False), "refused", survey.UNKNOWN, "unknown"),
        (row("refused", NONE, IN), "refused", survey.NO_LISTENER, "open"),
        (row("refused", LOCAL, IN), "refused", survey.NO_LISTENER, "open"),
        (row("other", NGINX, IN, OUT), "open", "", "open"),
        (row("mute", NGINX, IN, OUT), "open", "", "open"),
        (row("other", NGINX, capture=False), "open", "", "open"),
        (row("other", NGINX), "filtered", survey.INTERCEPTED, "blocked"),
        (row("other", OURS), "filtered", survey.INTERCEPTED, "blocked"),
        (row("mute", OURS, IN, OUT), "filtered", survey.INTERCEPTED, "blocked"),
        (row("no way", OURS), "filtered", survey.NO_ROUTE, "unknown"),
    ],
)
def test_what_it_means(found: dict[str, Any], state: str, cause: str, site: str) -> None:
    assert (found["state"], found["cause"], found["site"]) == (state, cause, site)


def test_a_machine_that_probes_itself_says_nothing_about_the_site() -> None:
    itself = {**IN, "source": "10.0.0.4"}
    found = row("ours", OURS, itself)
    assert (found["state"], found["itself"], found["site"]) == ("open", True, "unknown")


def test_a_held_udp_port_does_not_answer_but_is_reached() -> None:
    attempt = {"state": "filtered", "answer": "none", "source_port": 4000, "error": "no answer"}
    report = {"ports": {"8472/udp": NGINX}, "capture": True, "packets": [{**IN, "port": "8472/udp"}]}
    (found,) = survey.explain({"front": report}, {"worker": {"hosts": {"front": {"8472/udp": attempt}}}})
    assert (found["state"], found["site"]) == ("open", "open")


def result(port: str, state: str = "open", cause: str = "", held_by: str = "") -> dict[str, Any]:
    found = {"from": "controller", "host": "front", "port": port, "state": state, "cause": cause, "itself": False}
    return {**found, "held_by": held_by, "site": "open" if state == "open" else "blocked"}


@pytest.mark.parametrize(
    ("rows", "port", "why"),
    [
        ([result("443"), result("8443")], 443, []),
        ([result("443", "filtered", survey.OUTSIDE), result("8443")], 8443, [f"443: filtered by {survey.OUTSIDE}"]),
        ([result("443", held_by="nginx"), result("8443")], 8443, ["443: held by nginx"]),
        ([result("443"), result("8443", held_by="caddy")], 8443, []),
        ([result("443"), result("8443", "filtered", survey.UNKNOWN, "caddy")], 443, ["8443: filtered, cause unknown"]),
        ([result("8443", "refused", survey.UNKNOWN)], 0, ["443: not probed", "8443: refused, cause unknown"]),
    ],
)
def test_the_port_that_is_chosen(rows: list[dict[str, Any]], port: int, why: list[str]) -> None:
    assert survey.choose(rows, ["443", "8443"], ["caddy"]) == {"port": port, "why": why}


def test_the_table() -> None:
    rows = [result(str(port)) for port in (7000, 443, 7001, 7002)]
    rows += [result("8443", held_by="nginx"), result("8472/udp"), result("22", "refused", survey.UNKNOWN)]
    assert survey.table(rows) == [
        "FROM        TO     PORTS                     STATE    WHY",
        "controller  front  443, 7000-7002, 8472/udp  open",
        "controller  front  8443                      open     held by nginx",
        "controller  front  22                        refused  unknown",
    ]


def test_ports_as_they_are_written() -> None:
    assert parse_ports([443, "7000-7002", " 8472/udp", "443"]) == [
        Port(443),
        Port(7000),
        Port(7001),
        Port(7002),
        Port(8472, "udp"),
    ]
    for wrong in ("", "https", "0", "65536", "7-6", "1-", "80/sctp", "-1"):
        with pytest.raises(PortError, match=f"^{wrong!r} is not a port"):
            parse_ports([wrong])


@given(st.sets(st.tuples(st.integers(1, 65535), st.sampled_from(["tcp", "udp"])), max_size=30))
def test_ranges_are_the_same_ports(numbers: set[tuple[int, str]]) -> None:
    ports = {Port(*number) for number in numbers}
    text = survey.ranges(map(str, ports))
    assert set(parse_ports(text.split(", ") if text else [])) == ports


def test_an_answer_needs_the_token_and_is_for_one_port() -> None:
    question = b"0" * 32 + b"\n"
    answers = {answer_to(question, token, Port(port)) for token in "ab" for port in (80, 81)}
    assert len(answers) == 4
    assert {len(answer) for answer in answers} == {len(question)}


entries = st.fixed_dictionaries(
    {
        "port": st.sampled_from([80, 443]),
        "protocol": st.sampled_from(["tcp", "udp"]),
        "from": st.sampled_from(["outside", "inside"]),
        "state": st.sampled_from(["open", "blocked"]),
        "date": st.sampled_from(["2026-01-31", "2026-02-01", "2026-11-24"]),
    }
)
sites = st.fixed_dictionaries(
    {
        "ports": st.lists(
            entries, max_size=6, unique_by=lambda entry: (entry["port"], entry["protocol"], entry["from"])
        ),
    }
)
facts = st.fixed_dictionaries(
    {"version": st.just(1), "sites": st.dictionaries(st.sampled_from(["A", "B"]), sites, max_size=2)}
)


@given(facts, facts, facts)
def test_the_order_of_merges_does_not_matter(one: Any, two: Any, three: Any) -> None:
    merged = merge(merge(one, two), three)
    assert merged == merge(one, merge(three, two))
    assert merge(merged, one) == merged
    assert set(merged["sites"]) == {*one["sites"], *two["sites"], *three["sites"]}
    jsonschema.validate(merged, SCHEMA)


def test_the_later_result_counts_and_of_one_day_the_blocked_one() -> None:
    def of(state: str, date: str) -> dict[str, Any]:
        entry = {"port": 443, "protocol": "tcp", "from": "outside", "state": state, "date": date}
        return {"version": 1, "sites": {"A": {"ports": [entry]}}}

    early, late = of("blocked", "2026-01-01"), of("open", "2026-02-01")
    assert merge(early, late) == late
    assert merge(late, of("blocked", "2026-02-01")) == of("blocked", "2026-02-01")
    assert merge({}, late) == merge(late, None) == late


def test_a_survey_keeps_the_dates_of_what_is_the_same() -> None:
    rows = [result("443"), result("80", "filtered", survey.OUTSIDE), {**result("81"), "site": "unknown"}]
    first = of_survey(rows, "A", "2026-01-01")
    jsonschema.validate(first, SCHEMA)
    assert [entry["port"] for entry in first["sites"]["A"]["ports"]] == [80, 443]
    assert of_survey(rows, "A", "2026-02-01", first) == first
    later = of_survey([result("443"), result("80")], "A", "2026-02-01", first)["sites"]["A"]["ports"]
    assert [(entry["port"], entry["state"], entry["date"]) for entry in later] == [
        (80, "open", "2026-02-01"),
        (443, "open", "2026-01-01"),
    ]


def test_between_machines_one_blocked_pair_counts() -> None:
    rows = [
        {**result("9000", state), "from": place} for place, state in (("a", "open"), ("b", "refused"), ("c", "open"))
    ]
    (entry,) = of_survey(rows, "A", "2026-01-01", controller="inside")["sites"]["A"]["ports"]
    assert (entry["from"], entry["state"]) == ("inside", "blocked")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"version": 2, "sites": {}}, "version 2; this collection knows version 1"),
        ({"version": 1}, "not as docs/ports.schema.json says"),
        ({"version": 1, "sites": {"A": {"ports": [{"port": 443}]}}}, "not as docs/ports.schema.json says"),
    ],
)
def test_facts_of_another_form_are_an_error(wrong: Any, message: str) -> None:
    with pytest.raises(PortError, match=message):
        merge(wrong, {})


@pytest.mark.parametrize(
    "file", sorted((ROOT / "plugins" / "module_utils" / "_ports").glob("[a-z]*.py")), ids=lambda file: file.stem
)
def test_targets_need_python_39_and_its_standard_library_only(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    assert source.startswith("# SPDX-License-Identifier: BSD-2-Clause\n")
    for node in ast.walk(ast.parse(source, feature_version=(3, 9))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").partition(".")[0] in sys.stdlib_module_names
        if isinstance(node, ast.Import):
            assert all(alias.name.partition(".")[0] in sys.stdlib_module_names for alias in node.names)
