# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the OSCAR for FedCloud developers
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

DOCUMENTATION = r"""
name: im
short_description: The VMs of an infrastructure of the Infrastructure Manager
version_added: "2.0.0"
author:
  - The OSCAR for FedCloud developers (@fedcloud)
description:
  - Reads the virtual machines that the L(Infrastructure Manager,https://imdocs.readthedocs.io) (IM) has deployed, so
    that playbooks run on them.
  - A host is named after the first DNS name of its VM, or C(im-ID) where it has none. Where two VMs have the same name,
    the number of the VM is added.
  - Each host is in a group named after its C(system) in RADL, or its node template in TOSCA. C(front_end) and
    C(workers) are the groups that the playbooks of this collection want.
  - The name of the inventory file must end in C(im.yml) or C(im.yaml).
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
options:
  plugin:
    description: Must be V(fedcloud.oscar.im).
    required: true
    choices: [fedcloud.oscar.im]
  url:
    description: The REST API of IM, for example V(https://im.example.org/im).
    type: str
    required: true
  auth_file:
    description:
      - File with the credentials as C(im_client) takes them, one line for IM itself and one for each cloud.
    type: path
    required: true
    env:
      - name: IM_AUTH_FILE
  access_token:
    description: Replaces V({access_token}) in the lines of O(auth_file).
    type: str
    env:
      - name: OIDC_ACCESS_TOKEN
  infrastructures:
    description: Ids of the infrastructures to read. All that the credentials give access to if it is not given.
    type: list
    elements: str
  states:
    description: Only VMs in one of these states.
    type: list
    elements: str
    default: [pending, running, configured, unconfigured]
  address:
    description:
      - Which address is C(ansible_host). V(public) and V(private) leave it unset on hosts without such an address;
        V(any) takes the public one first.
    type: str
    choices: [any, public, private]
    default: any
  validate_certs:
    description: Whether the server's TLS certificate is checked. Set it to V(false) for tests only.
    type: bool
    default: true
  ca_path:
    description: File with the CA certificates (PEM) that are trusted instead of those of the system.
    type: path
  timeout:
    description: Longest time in seconds to wait for the server to answer one request.
    type: int
    default: 60
notes:
  - Each host has the variables C(im_infrastructure), C(im_id), C(im_system), C(im_state), C(im_dns_name),
    C(im_private_ip), C(im_public_ip), C(im_cloud), C(im_tags), and C(ansible_user) as IM knows it. Passwords and
    private keys that IM holds are not taken over.
"""

EXAMPLES = r"""
# site.im.yml
plugin: fedcloud.oscar.im
url: https://im.example.org/im
auth_file: ~/auth.dat
infrastructures: [f8d1d792-e808-11f1-962a-02fc00000001]

# Only VMs that IM has configured, reached by their private addresses, in groups by cloud and by the tag "pool";
# what was read is kept for five minutes.
---
plugin: fedcloud.oscar.im
url: https://im.example.org/im
auth_file: ~/auth.dat
states: [configured]
address: private
keyed_groups:
  - key: im_cloud
    prefix: cloud
  - key: im_tags.pool
    prefix: pool
compose:
  kubernetes_node_ip: im_private_ip
strict: true
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/im-inventory
cache_timeout: 300
"""

import json
from http.client import HTTPException
from urllib.error import HTTPError, URLError

from ansible.errors import AnsibleError, AnsibleParserError
from ansible.module_utils.common.text.converters import to_native
from ansible.module_utils.urls import open_url
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable, to_safe_group_name

LINE_SEPARATOR = r"\n"  # these two characters stand between the lines of the auth file in the header


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "fedcloud.oscar.im"

    def verify_file(self, path):
        return super().verify_file(path) and path.endswith(("im.yml", "im.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        vms = self._cached(path, cache)
        taken = set()
        for vm in vms:
            name = vm["im_dns_name"].partition(".")[0] or f"im-{vm['im_id']}"
            self._add(f"{name}-{vm['im_id']}" if name in taken else name, vm)
            taken.add(name)

    def _cached(self, path, cache):
        """The VMs, from the cache where that is wanted and has them."""
        self.load_cache_plugin()
        key = self.get_cache_key(path)
        wanted = cache and self.get_option("cache")
        if wanted and key in self._cache:
            return self._cache[key]
        vms = self._vms()
        if self.get_option("cache"):
            self._cache[key] = vms
        return vms

    def _vms(self):
        try:
            return [vm for each in self._infrastructures() for vm in self._read(each)]
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # of an answer in another form
            url = self.get_option("url")
            raise AnsibleError(
                f"What answers at {url} is not IM: its answer lacks what is expected: {error!r}"
            ) from error

    def _add(self, name, vm):
        if vm["im_state"] not in self.get_option("states"):
            return
        group = self.inventory.add_group(to_safe_group_name(vm["im_system"]))
        self.inventory.add_host(name, group=group)
        for variable, value in vm.items():
            self.inventory.set_variable(name, variable, value)
        if address := self._address(vm):
            self.inventory.set_variable(name, "ansible_host", address)
        strict = self.get_option("strict")
        variables = self.inventory.get_host(name).get_vars()
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        variables = self.inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)

    def _address(self, vm):
        public, private = vm["im_public_ip"], vm["im_private_ip"]
        return {"any": public or private, "public": public, "private": private}[self.get_option("address")]

    def _infrastructures(self):
        given = self.get_option("infrastructures")
        return given if given is not None else _ids(self._get("infrastructures"))

    def _read(self, infrastructure):
        where = f"infrastructures/{infrastructure}"
        return [_host(infrastructure, vm_id, self._get(f"{where}/vms/{vm_id}")) for vm_id in _ids(self._get(where))]

    def _get(self, path):
        """What IM answers. Raises AnsibleError with a sentence; the credentials are in no message."""
        url = f"{self.get_option('url').rstrip('/')}/{path}"
        try:
            response = open_url(
                url,
                headers={"Authorization": self._credentials(), "Accept": "application/json"},
                validate_certs=self.get_option("validate_certs"),
                ca_path=self.get_option("ca_path"),
                timeout=self.get_option("timeout"),
            )
            return json.load(response)
        except HTTPError as error:
            raise AnsibleError(f"IM answered {error.code} to {url}: {_message(error)}") from error
        except (URLError, OSError, HTTPException) as error:
            raise AnsibleError(f"IM does not answer at {url}: {to_native(error)}") from error
        except (ValueError, RecursionError) as error:
            raise AnsibleError(f"What answers at {url} is not IM: {to_native(error)}") from error

    def _credentials(self):
        path = self.get_option("auth_file")
        try:
            with open(path, encoding="utf-8") as file:
                lines = [line.strip() for line in file]
        except (OSError, UnicodeDecodeError) as error:
            raise AnsibleParserError(f"auth_file {path} cannot be read: {to_native(error)}") from error
        text = LINE_SEPARATOR.join(line for line in lines if line and not line.startswith("#"))
        return text.replace("{access_token}", self.get_option("access_token") or "")


def _ids(answer):
    """The last parts of the addresses that IM lists."""
    return [entry["uri"].rstrip("/").rpartition("/")[2] for entry in answer.get("uri-list", [])]


def _host(infrastructure, vm_id, answer):
    """The variables of a VM."""
    entries = answer.get("radl", [])
    system = next((entry for entry in entries if entry.get("class") == "system"), {})
    public_networks = {
        entry["id"] for entry in entries if entry.get("class") == "network" and entry.get("outbound") == "yes"
    }
    addresses = {True: "", False: ""}
    number = 0
    while connection := system.get(f"net_interface.{number}.connection"):
        public = connection in public_networks
        addresses[public] = addresses[public] or system.get(f"net_interface.{number}.ip", "")
        number += 1
    tags = (part.strip().partition("=") for part in system.get("instance_tags", "").split(",") if "=" in part)
    host = {
        "im_infrastructure": infrastructure,
        "im_id": int(vm_id),
        "im_system": system.get("id", "im"),
        "im_state": system.get("state", "unknown"),
        "im_dns_name": system.get("net_interface.0.dns_name", ""),
        "im_private_ip": addresses[False],
        "im_public_ip": addresses[True],
        "im_cloud": system.get("provider.type", ""),
        "im_tags": {key: value for key, _separator, value in tags},
    }
    if user := system.get("disk.0.os.credentials.username"):
        host["ansible_user"] = user
    return host


def _message(error):
    """The sentence in the body of an error."""
    try:
        body = json.load(error)
        return str(body.get("message") or body.get("detail") or body)
    except (ValueError, AttributeError, OSError):
        return to_native(error.reason)
