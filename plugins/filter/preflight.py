# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters of the role preflight. Each is documented in the YAML file of its name."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from pathlib import Path

import yaml
from ansible.module_utils.parsing.convert_bool import boolean

from ..plugin_utils._preflight import machine, site, variables

NUMBERS = (
    *("cpus", "memory_mb", "swap_mb", "mtu", "uid", "disk_total", "disk_free"),
    *("disk_gib", "disk_free_gib", "clock_offset"),
)
TRUTHS = ("cgroup1", "cgroup2", "firewall", "firewalld", "ufw")
ROLES = Path(__file__).parents[2] / "roles"


@lru_cache(maxsize=None)
def _specs():
    """The options of each role's main entry point, from its argument specification."""
    files = sorted(ROLES.glob("*/meta/argument_specs.yml"))
    texts = {file.parts[-3]: file.read_text(encoding="utf-8") for file in files}
    return {
        role: yaml.safe_load(text)["argument_specs"].get("main", {}).get("options", {}) for role, text in texts.items()
    }


def machine_problems(facts, needs):
    return machine.problems(_typed(facts), _typed(needs))


def _typed(given):
    """Numbers and truths as such: ansible-core before 2.19 hands on the text of each template."""
    return {
        name: _number(value) if name in NUMBERS else _truth(value) if name in TRUTHS else value
        for name, value in given.items()
    }


def _number(value):
    if not isinstance(value, str):
        return value
    return None if value in ("", "None") else float(value) if "." in value else int(value)


def _truth(value):
    return boolean(value) if isinstance(value, str) else value


def variable_problems(values, roles, host_network=""):
    return variables.problems(values, _specs(), roles) + site.relations(values, _specs(), host_network, roles)


def site_problems(hosts, groups):
    return site.problems(groups, hosts)


def problem_report(found):
    """A problem that several hosts share is told once."""
    owners = defaultdict(list)
    for host, sentences in found.items():
        for sentence in sentences:
            owners[sentence].append(host)
    return [f"{', '.join(filter(None, hosts))}: {sentence}".removeprefix(": ") for sentence, hosts in owners.items()]


class FilterModule:
    """The filters."""

    def filters(self):
        return {
            "machine_problems": machine_problems,
            "problem_report": problem_report,
            "site_problems": site_problems,
            "variable_problems": variable_problems,
        }
