# SPDX-License-Identifier: Apache-2.0
"""The survey of ports on machines with firewalls of their own and a firewall on the way, as a cloud site has them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ansible_collections.fedcloud.oscar.plugins.plugin_utils._ports.survey import (
    INTERCEPTED,
    OUTSIDE,
    OWN_FIREWALL,
    WAY_BACK,
)
from parts.ansible_run import OLDEST, ROOT, Ansible, Run, bare_python
from parts.netns import ADDRESSES, MACHINES, Net, running_net

PLAYBOOK = ROOT / "playbooks" / "port_survey.yml"
SCHEMA = ROOT / "docs" / "ports.schema.json"
SETTINGS = {
    "port_survey_public_ports": ["443", "8443", "7000-7002"],
    "port_survey_other_ports": ["80-84"],
    "port_survey_cluster_ports": ["6443", "9000", "8472/udp"],
    "port_survey_timeout": 1,
    "port_survey_site": "TEST-SITE",
}
SERVER = """
import socket, sys
server = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
while True:
    server.accept()[0].close()
"""

REDIRECT = """
table ip test_nat {
  chain only {
    type nat hook prerouting priority -100
    tcp dport 84 redirect to :4430
  }
}
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with running_net() as running:
        yield running


@pytest.fixture(autouse=True)
def _no_firewall(net: Net) -> None:
    net.filter("way", hook="forward")
    for machine in MACHINES:
        net.filter(machine)


class Surveyor:
    """The controller."""

    def __init__(self, version: str, net: Net, folder: Path) -> None:
        self.ansible = Ansible(version, folder, {"ANSIBLE_PIPELINING": "1"})
        self.facts = folder / "ports.yml"
        places = {"localhost": "outside", **{machine: machine for machine in MACHINES}}
        lines = [
            f"{name} ansible_connection=local ansible_host={ADDRESSES[place]} "
            f"ansible_python_interpreter={net.python(place, bare_python(), folder)}"
            for name, place in places.items()
        ]
        text = "\n".join([*lines, "[front_end]", "one", "[workers]", "two", ""])
        (folder / "inventory").write_text(text, encoding="utf-8")

    def survey(self, *options: str, playbook: Path = PLAYBOOK, **settings: Any) -> Run:
        variables = {**SETTINGS, "port_survey_facts_file": str(self.facts), **settings}
        # The last --limit counts.
        return self.ansible.run(playbook, "--limit", "one:two", "-e", json.dumps(variables), *options)

    def choose(self, *options: str, **settings: Any) -> Run:
        """The port that a site's play would take."""
        book = [
            {
                "hosts": "all",
                "gather_facts": False,
                "tasks": [
                    {
                        "name": "choose",
                        "ansible.builtin.include_role": {"name": "fedcloud.oscar.port_survey", "tasks_from": "choose"},
                    },
                    {"name": "chosen", "ansible.builtin.debug": {"var": "site_public_port"}},
                    {"name": "reachable", "ansible.builtin.debug": {"var": "site_reachable_ports"}},
                ],
            }
        ]
        file = self.ansible.folder / "choose.yml"
        file.write_text(yaml.safe_dump(book), encoding="utf-8")
        return self.survey(*options, playbook=file, **settings)


@pytest.fixture
def newest(net: Net, tmp_path: Path) -> Surveyor:
    """A controller with the newest Ansible."""
    return Surveyor("newest", net, tmp_path)


@pytest.fixture
def oldest(net: Net, tmp_path: Path) -> Surveyor:
    """A controller with the oldest Ansible that is supported, whose runs are quicker."""
    return Surveyor(OLDEST, net, tmp_path)


def rows(run: Run) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The results by from, host, port."""
    assert run.code == 0, run.output
    results = run["Evaluate the probes of the ports"].result["ansible_facts"]["port_survey_results"]
    return {(row["from"], row["host"], row["port"]): row for row in results}


def seen(run: Run, place: str = "controller", host: str = "one") -> dict[str, tuple[str, str, str]]:
    """State, cause and what the site does, by port."""
    return {
        port: (row["state"], row["cause"], row["site"])
        for (where, name, port), row in rows(run).items()
        if (where, name) == (place, host)
    }


@contextmanager
def server_in(net: Net, place: str, port: int) -> Iterator[None]:
    """A server there that accepts connections and hangs up."""
    command = net.command(place, bare_python(), "-c", SERVER, str(port))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert server.stdout.readline()
            yield
        finally:
            server.kill()


def test_open_refused_filtered_and_why(newest: Surveyor, net: Net) -> None:
    reset = "reject with tcp reset"
    net.filter("one", "tcp dport 8443 drop", f"tcp dport 7000 {reset}", "tcp dport 81 reject", "udp dport 8472 drop")
    net.filter(
        "way",
        "tcp dport 7001 drop",
        f"tcp dport 7002 {reset}",
        "tcp dport 80 reject",
        "tcp sport 83 drop",
        hook="forward",
    )
    net.filter("two", "tcp dport 9000 reject with icmpx type admin-prohibited")
    net.run("way", "nft", "-f", "-", stdin=REDIRECT)
    try:
        with server_in(net, "way", 4430):
            run = newest.survey()
    finally:
        net.run("way", "nft", "-f", "-", stdin="delete table ip test_nat\n")
    assert seen(run) == {
        "443": ("open", "", "open"),
        "8443": ("filtered", OWN_FIREWALL, "open"),
        "7000": ("refused", OWN_FIREWALL, "open"),
        "7001": ("filtered", OUTSIDE, "blocked"),
        "7002": ("refused", OUTSIDE, "blocked"),
        "80": ("refused", OUTSIDE, "blocked"),
        "81": ("refused", OWN_FIREWALL, "open"),
        "82": ("open", "", "open"),
        "83": ("filtered", WAY_BACK, "blocked"),
        "84": ("filtered", INTERCEPTED, "blocked"),
    }
    assert seen(run, "two", "one") == {
        "6443": ("open", "", "open"),
        "9000": ("open", "", "open"),
        "8472/udp": ("filtered", OWN_FIREWALL, "open"),
    }
    assert seen(run, "one", "two")["9000"] == ("filtered", OWN_FIREWALL, "open")
    # Workers need not be reached from outside.
    assert not [key for key in rows(run) if key[:2] == ("controller", "two")]
    assert not any(task.changed for task in run.tasks if task.name != "Write the facts of the site's ports")


def test_a_second_run_changes_nothing_and_other_sites_are_kept(oldest: Surveyor, net: Net) -> None:
    other = {"port": 443, "protocol": "tcp", "from": "outside", "state": "open", "date": "2025-01-01"}
    old = {**other, "port": 8443, "state": "blocked"}
    gone = {**other, "port": 9999}
    before = {"version": 1, "sites": {"OTHER": {"ports": [other]}, "TEST-SITE": {"ports": [other, old, gone]}}}
    oldest.facts.write_text(yaml.safe_dump(before), encoding="utf-8")
    net.filter("way", "tcp dport 7000 drop", hook="forward")

    checked = oldest.survey("--check", "--diff")
    assert checked["Write the facts of the site's ports"].changed
    assert yaml.safe_load(oldest.facts.read_text(encoding="utf-8")) == before
    assert oldest.survey()["Write the facts of the site's ports"].changed
    text = oldest.facts.read_text(encoding="utf-8")
    facts = yaml.safe_load(text)
    jsonschema.validate(json.loads(json.dumps(facts, default=str)), json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert facts["sites"]["OTHER"]["ports"] == [other]
    entries = {(one["from"], one["port"]): one for one in facts["sites"]["TEST-SITE"]["ports"]}
    assert entries["outside", 443] == other, "the date is that of the first survey with this result"
    assert entries["outside", 9999] == gone, "what was not tried again is kept"
    assert entries["outside", 8443]["state"] == "open"
    assert entries["outside", 8443]["date"] > old["date"]
    assert entries["outside", 7000]["state"] == "blocked"
    assert entries["inside", 8472]["protocol"] == "udp"

    # The machine's own firewall comes later, as it does at a site; it says nothing about the site.
    net.filter("one", "tcp dport 8443 drop", "tcp dport 81 reject")
    again = oldest.survey()
    assert not any(task.changed for task in again.tasks)
    assert oldest.facts.read_text(encoding="utf-8") == text


def test_a_port_that_is_held_is_tried_at_its_holder(newest: Surveyor, net: Net) -> None:
    with server_in(net, "one", 8443):
        run = newest.choose("--limit", "one")
        assert seen(run)["8443"] == ("open", "", "open")
        holder = rows(run)["controller", "one", "8443"]["held_by"]
        assert f"held by {holder}" in run.output
        assert run["chosen"].result["site_public_port"] == 443
        assert run["reachable"].result["site_reachable_ports"] == [80, 81, 82, 83, 84, 443, 7000, 7001, 7002, 8443]
        # The ingress of the site stays where it is.
        kept = newest.choose("--check", port_survey_own_services=[holder])
        assert kept["chosen"].result["site_public_port"] == 8443
        net.filter("way", "tcp dport 443 drop", hook="forward")
        assert newest.choose("--limit", "one")["chosen"].result["site_public_port"] == 7000


def test_no_public_port_is_a_clear_message(oldest: Surveyor, net: Net) -> None:
    net.filter("way", "tcp dport 443 drop", "tcp dport 8443 reject with tcp reset", hook="forward")
    net.filter("one", "tcp dport 7000-7002 drop")
    run = oldest.choose("--limit", "one")
    assert run.code != 0
    message = run["Require a public port that works"].message
    assert "No port of port_survey_public_ports works from the controller to one (10.77.0.2)" in message
    assert "443: filtered by something outside the machine" in message
    assert "8443: refused by something outside the machine" in message
    assert "7001: filtered by the machine's own firewall" in message
    assert "site_public_port" not in run.output


def test_from_the_machine_itself_nothing_is_known_about_the_site(oldest: Surveyor) -> None:
    inventory = oldest.ansible.folder / "inventory"
    text = inventory.read_text(encoding="utf-8").replace("python-outside", "python-one")
    inventory.write_text(text, encoding="utf-8")
    run = oldest.survey("--limit", "one")
    assert {key[0] for key in rows(run)} == {"controller"}
    assert seen(run)["443"] == ("open", "", "unknown")
    assert "from the machine itself" in run.output
    facts = yaml.safe_load(oldest.facts.read_text(encoding="utf-8"))
    assert facts["sites"] == {"TEST-SITE": {"ports": []}}


def test_listeners_that_ended_leave_the_cause_unknown(oldest: Surveyor, net: Net) -> None:
    net.filter("way", "tcp dport 443 drop", hook="forward")
    run = oldest.survey("--limit", "one", port_survey_lifetime=0)
    assert seen(run)["443"] == ("filtered", "unknown", "unknown")
