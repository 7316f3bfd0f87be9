# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Filters for surveys of ports. Each is documented in the YAML file of its name."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError

from ..module_utils._ports.ports import PortError
from ..plugin_utils._ports import facts, survey


def _reported(function):
    """The filter, whose errors are one sentence."""

    def call(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except PortError as error:
            raise AnsibleFilterError(str(error)) from error

    return call


class FilterModule:
    """The filters."""

    def filters(self):
        return {
            "port_results": _reported(survey.explain),
            "port_choice": _reported(survey.choose),
            "port_table": _reported(survey.table),
            "port_facts": _reported(facts.of_survey),
            "merge_port_facts": _reported(facts.merge),
        }
