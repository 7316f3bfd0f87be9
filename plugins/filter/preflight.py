# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters of the role preflight. Each is documented in the YAML file of its name."""

from __future__ import annotations

from collections import defaultdict

import yaml

from ..plugin_utils._preflight import machine, site, variables


def machine_problems(facts, needs):
    return machine.problems(facts, needs)


def variable_problems(values, spec_files, roles, host_network=""):
    specs = {role: yaml.safe_load(text)["argument_specs"]["main"].get("options", {}) for role, text in spec_files.items()}
    return variables.problems(values, specs, roles) + site.relations(values, specs, host_network)


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
