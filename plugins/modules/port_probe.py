#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
module: port_probe
short_description: Find out which ports of a machine can be reached from where
version_added: "2.0.0"
author:
  - The OSCAR for FedCloud developers (@fedcloud)
description:
  - Starts temporary listeners on a machine, tries its ports from other machines, and stops the listeners.
  - A listener answers a question in a way that needs the token, so an open port is known to lead to that very machine.
  - Run as root, it also sees whether a probe arrives at the machine, before the machine's own firewall. This tells that
    firewall from whatever is outside the machine. Without root, such causes stay unknown.
  - The role C(fedcloud.oscar.port_survey) does all of it for a site.
extends_documentation_fragment:
  - fedcloud.oscar._attributes
attributes:
  check_mode:
    support: full
    details:
      - Nothing lasting is changed, so listeners start in check mode too.
  diff_mode:
    support: N/A
    details:
      - Nothing lasting is changed.
  idempotent:
    support: full
    details:
      - The module never reports a change, since listeners are in memory only and end by themselves.
options:
  state:
    description:
      - V(listening) starts a listener on each of O(ports) that is free, and says who holds the others.
      - V(probed) tries O(ports) of each of O(hosts).
      - V(stopped) stops the listeners and returns what they have seen.
    type: str
    choices: [listening, probed, stopped]
    required: true
  token:
    description:
      - What the listeners and the probes of one survey have in common, at best random.
    type: str
    required: true
  ports:
    description:
      - Ports such as V(443), V(7000-7020) or V(8472/udp).
      - Needed for all but O(state=stopped).
    type: list
    elements: str
  hosts:
    description:
      - Addresses to try, by a name of your choice under which the results are returned.
      - Needed for O(state=probed).
    type: dict
  lifetime:
    description:
      - After this time, in seconds, the listeners end by themselves.
    type: int
    default: 300
  timeout:
    description:
      - How long to wait for each connection, in seconds. Many are tried at once.
    type: int
    default: 5
seealso:
  - module: ansible.builtin.wait_for
"""

EXAMPLES = r"""
- name: Listen on the ports that the site might let through
  fedcloud.oscar.port_probe:
    state: listening
    ports: [443, 8443, 7000-7020]
    token: "{{ token }}"
  become: true

- name: Try them from the controller
  fedcloud.oscar.port_probe:
    state: probed
    hosts:
      front: 192.0.2.10
    ports: [443, 8443, 7000-7020]
    token: "{{ token }}"
  delegate_to: localhost

- name: Stop listening
  fedcloud.oscar.port_probe:
    state: stopped
    token: "{{ token }}"
  become: true
"""

RETURN = r"""
ports:
  description: Who listens on each port.
  returned: O(state=listening) and O(state=stopped)
  type: dict
  contains:
    listener:
      description:
        - V(ours), V(other), or V(none) where the module could not listen.
      type: str
    process:
      description: The other listener's process, empty if unknown.
      type: str
    unit:
      description: Its systemd service, empty if unknown.
      type: str
    local_only:
      description: Whether it can be reached from its own machine only.
      type: bool
    error:
      description: Why the module could not listen.
      returned: listener=none
      type: str
  sample:
    "443":
      listener: other
      process: caddy
      unit: caddy.service
      local_only: false
capture:
  description: Whether probes that arrive are seen.
  returned: O(state=listening) and O(state=stopped)
  type: bool
packets:
  description: The probes that arrived, and the answers that left the machine.
  returned: O(state=stopped)
  type: list
  elements: dict
  sample:
    - port: "443"
      outgoing: false
      source: 198.51.100.7
      destination: 10.0.0.4
      peer_port: 41234
running:
  description: Whether the listeners were still there; if not, nothing is known of what they saw.
  returned: O(state=stopped)
  type: bool
hosts:
  description: What became of the connection to each port of each host.
  returned: O(state=probed)
  type: dict
  contains:
    state:
      description: V(open), V(refused) or V(filtered).
      type: str
    answer:
      description: Who answered, V(ours), V(other) or V(none).
      type: str
    source_port:
      description: The port from which it was tried.
      type: int
    error:
      description: The error, empty if none.
      type: str
  sample:
    front:
      "443":
        state: open
        answer: ours
        source_port: 41234
        error: ""
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ports.connect import probe
from ..module_utils._ports.listener import start, stop
from ..module_utils._ports.ports import PortError, parse_ports

NOTHING_SEEN = {"running": False, "ports": {}, "capture": False, "packets": []}


def run(params):
    """What the module returns. Raises PortError."""
    if params["state"] == "stopped":
        report = stop(params["token"])
        return NOTHING_SEEN if report is None else {"running": True, **report}
    ports = parse_ports(params["ports"])
    if params["state"] == "listening":
        return start(ports, params["token"], params["lifetime"])
    hosts = {str(name): str(address) for name, address in params["hosts"].items()}
    return {"hosts": probe(hosts, ports, params["token"], params["timeout"])}


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["listening", "probed", "stopped"], "required": True},
            "token": {"type": "str", "required": True, "no_log": True},
            "ports": {"type": "list", "elements": "str"},
            "hosts": {"type": "dict"},
            "lifetime": {"type": "int", "default": 300},
            "timeout": {"type": "int", "default": 5},
        },
        required_if=[("state", "listening", ("ports",)), ("state", "probed", ("ports", "hosts"))],
        supports_check_mode=True,
    )
    try:
        result = run(module.params)
    except PortError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
