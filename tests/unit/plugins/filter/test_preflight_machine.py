# SPDX-License-Identifier: Apache-2.0
"""Bad hosts and bad inventories: one sentence each."""

from __future__ import annotations

import pytest
from ansible_collections.fedcloud.oscar.plugins.filter import preflight

GIB = 1024**3
GOOD = {
    "distribution": "Debian",
    "version": "12.5",
    "architecture": "x86_64",
    "python": "3.11.2",
    "cpus": 4,
    "memory_mb": 7900,
    "swap_mb": 0,
    "mtu": 1450,
    "uid": 0,
    "disk_total": 40 * GIB,
    "disk_free": 30 * GIB,
    "clock_offset": 0.3,
    "cgroup2": True,
    "firewalld": False,
    "ufw": False,
}
NEEDS = {
    "group": "front_end",
    "cpus": 2,
    "memory_mb": 3500,
    "disk_gib": 10.0,
    "disk_free_gib": 2.0,
    "clock_offset": 60,
    "swap": "forbid",
    "cgroup1": False,
    "mtu": 0,
    "firewall": True,
}

BAD = [
    ({"distribution": "Fedora", "version": "43"}, {}, "The system is Fedora 43; it must be one of Debian"),
    ({"distribution": "Ubuntu", "version": "22.04"}, {}, "The system is Ubuntu 22.04; it must be one of Debian"),
    ({"architecture": "i386"}, {}, "The architecture is i386; it must be x86_64 or aarch64."),
    ({"python": "3.6.8"}, {}, "Ansible's Python is 3.6.8; it must be 3.9 or newer (ansible_python_interpreter)."),
    ({"cpus": 1}, {}, "The host has 1 CPUs; it must have at least 2."),
    ({"memory_mb": 1900}, {}, "The host has 1900 MiB of memory; it must have at least 3500."),
    ({"disk_total": 8 * GIB}, {}, "The file system of /var/lib has 8.0 GiB; it must have at least 10.0."),
    ({"disk_free": GIB}, {}, "The file system of /var/lib has 1.0 GiB free; it needs 2.0."),
    ({"clock_offset": -3600.0}, {}, "The clock is 3600 s behind the controller's; it must be within 60 s"),
    ({"swap_mb": 2048}, {}, "The host has 2048 MiB of swap; turn it off, or set kubernetes_swap to disable or allow."),
    ({"cgroup2": False}, {}, "The host has control groups of version 1; it must have version 2"),
    (
        {"mtu": 1450},
        {"mtu": 1450},
        "kubernetes_mtu is 1450; it must be at most 1400, the interface's 1450 less 50 for VXLAN.",
    ),
    ({"mtu": 576}, {}, "The interface of the default route has MTU 576; it must have at least 1330."),
    ({"uid": 1000}, {}, "Tasks run as user id 1000; they must run as root (become: true)."),
    ({"firewalld": True}, {}, "firewalld is active; it must be off (systemctl disable --now firewalld)"),
    ({"ufw": True}, {}, "ufw is active; it must be off (ufw disable), since the role firewall does its work."),
]


def test_good_host_is_no_problem() -> None:
    assert preflight.machine_problems(GOOD, NEEDS) == []


@pytest.mark.parametrize(
    ("facts", "needs", "sentence"),
    BAD,
    ids=[str(*facts) if len(facts) == 1 else facts["distribution"] for facts, _, _ in BAD],
)
def test_bad_host_gives_one_sentence(facts: dict[str, object], needs: dict[str, object], sentence: str) -> None:
    [told] = preflight.machine_problems(GOOD | facts, NEEDS | needs)
    assert told.startswith(sentence)


def test_what_is_permitted_is_no_problem() -> None:
    facts = GOOD | {"swap_mb": 2048, "cgroup2": False, "ufw": True, "distribution": "Ubuntu", "version": "22.04"}
    needs = NEEDS | {"swap": "allow", "cgroup1": True, "firewall": False, "group": "workers"}
    assert preflight.machine_problems(facts, needs) == []


def test_unknown_facts_are_not_judged() -> None:
    assert preflight.machine_problems({}, NEEDS) == []


HOSTS = {"front": {"address": "192.0.2.1", "node_name": "front"}, "w1": {"address": "192.0.2.2", "node_name": "w1"}}


@pytest.mark.parametrize(
    ("groups", "hosts", "sentence"),
    [
        ({"workers": ["w1"]}, {}, "The inventory group front_end has 0 hosts (none); it must have exactly one."),
        (
            {"front_end": ["front", "w1"]},
            {},
            "The inventory group front_end has 2 hosts (front, w1); it must have exactly one.",
        ),
        (
            {"front_end": ["front"], "workers": ["front"]},
            {},
            "front is in both groups front_end and workers; it must be in one of them.",
        ),
        (
            {},
            {"w1": {"address": "192.0.2.1", "node_name": "w1"}},
            "front, w1 have the address 192.0.2.1; each host must have its own.",
        ),
        (
            {},
            {"w1": {"address": "192.0.2.2", "node_name": "Front"}},
            "front, w1 have the node name front; each host must have its own.",
        ),
        (
            {},
            {"w1": {"node_name": "my_worker"}},
            "The node name of w1 is 'my_worker'; it must be a host name such as worker-1, in lower case.",
        ),
    ],
)
def test_bad_inventory_is_named(groups: dict[str, list[str]], hosts: dict[str, dict[str, str]], sentence: str) -> None:
    told = preflight.site_problems(HOSTS | hosts, groups or {"front_end": ["front"], "workers": ["w1"]})
    assert sentence in told


def test_good_inventory_is_no_problem() -> None:
    assert preflight.site_problems(HOSTS, {"front_end": ["front"], "workers": ["w1"]}) == []


def test_a_shared_problem_is_reported_once() -> None:
    assert preflight.problem_report({"": ["No front end."], "a": ["Too small."], "b": ["Too small."]}) == [
        "No front end.",
        "a, b: Too small.",
    ]
