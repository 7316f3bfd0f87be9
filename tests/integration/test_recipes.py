# SPDX-License-Identifier: Apache-2.0
"""The recipes, given to the real Infrastructure Manager: it makes their machines, and would run our plays on them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from parts.ansible_run import ROOT, Ansible
from parts.asgi import AsgiServer
from parts.im import ImServer, parse_radl
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from oscar_fedcloud.autoscaler.clouds import build

RECIPES = ROOT / "recipes"
IMAGE = "mock0://linux.for.ev.er/image1"
INPUTS = {
    "image": IMAGE,
    "domain": "oscar.example.org",
    "email": "admin@example.org",
    "workers": "2",
    "im_url": "https://im.example.org/im",
    "im_credentials": "id = im; type = InfrastructureManager; token = {access_token}",
    "cloud_credentials": "id = egi; type = EGI; host = SITE; vo = VO; token = {access_token}",
    "refresh_token": "refresh-me",
}
CREDENTIALS = [INPUTS["im_credentials"], INPUTS["cloud_credentials"]]

# What the recipes use of the types that IM's authors publish.
TYPES = """
tosca_definitions_version: tosca_simple_yaml_1_0
capability_types:
  tosca.capabilities.indigo.OperatingSystem:
    derived_from: tosca.capabilities.OperatingSystem
    properties: {image: {type: string, required: false}}
  tosca.capabilities.indigo.Container:
    derived_from: tosca.capabilities.Container
    properties: {instance_type: {type: string, required: false}}
  tosca.capabilities.indigo.Scalable:
    derived_from: tosca.capabilities.Scalable
    properties: {count: {type: integer, required: false, default: 1}}
  tosca.capabilities.indigo.Endpoint:
    derived_from: tosca.capabilities.Endpoint
    properties:
      dns_name: {type: string, required: false}
      additional_dns_names: {type: list, entry_schema: {type: string}, required: false}
      ports: {type: map, required: false, entry_schema: {type: tosca.datatypes.network.PortSpec}}
artifact_types:
  tosca.artifacts.AnsibleGalaxy.collection: {derived_from: tosca.artifacts.Root}
node_types:
  tosca.nodes.indigo.Compute:
    derived_from: tosca.nodes.Compute
    attributes:
      public_address: {type: list, entry_schema: {type: string}}
    capabilities:
      scalable: {type: tosca.capabilities.indigo.Scalable}
      os: {type: tosca.capabilities.indigo.OperatingSystem}
      endpoint: {type: tosca.capabilities.indigo.Endpoint}
      host: {type: tosca.capabilities.indigo.Container, valid_source_types: [tosca.nodes.SoftwareComponent]}
"""


@pytest.fixture(scope="module")
def im() -> Iterator[ImServer]:
    """The machines never start to run, so that IM does not try to reach them."""
    with ImServer(boot=1e6) as server:
        yield server


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """What the recipes take from the web: types, and our plays."""

    async def types(request: Request) -> Response:
        return PlainTextResponse(TYPES)

    async def play(request: Request) -> Response:
        return PlainTextResponse((RECIPES / "plays" / request.path_params["name"]).read_text())

    with AsgiServer(Starlette(routes=[Route("/types.yaml", types), Route("/plays/{name}", play)])) as server:
        yield server.url


def tosca(web: str, *names: str, **inputs: Any) -> str:
    """A recipe as the Dashboard sends it: children merged in, images and inputs filled in."""
    document: dict[str, Any] = {}
    for name in names:
        document = _merged(document, yaml.safe_load((RECIPES / "tosca" / name).read_text()))
    topology = document["topology_template"]
    for node in topology["node_templates"].values():
        if node["type"] == "tosca.nodes.indigo.Compute":
            node["capabilities"]["os"]["properties"]["image"] = IMAGE
    for name, value in inputs.items():
        topology["inputs"][name]["default"] = value
    text = yaml.safe_dump(document, sort_keys=False)
    text = re.sub(r"https://raw\S+/custom_types.yaml", f"{web}/types.yaml", text)
    return re.sub(r"https://raw\S+/recipes/plays/", f"{web}/plays/", text)


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _merged(one.get(key), other.get(key)) if key in other else one[key] for key in one | other}
    return other


def radl(name: str) -> str:
    """A recipe as im_client sends it, with its inputs asked for."""
    text = (RECIPES / "radl" / name).read_text()
    text = re.sub(r"@input\.(\w+)@", lambda match: INPUTS[match[1]], text)
    text = text.replace("<URL OF IM>", INPUTS["im_url"])
    return text.replace("system front (", f"system front (\n  disk.0.image.url = '{IMAGE}' and")


class Made:
    """An infrastructure as IM has it."""

    def __init__(self, im: ImServer, infrastructure: str) -> None:
        self.entries = parse_radl(im.request("GET", f"/infrastructures/{infrastructure}/radl"))
        self.systems = {entry["id"]: entry for entry in self.entries if entry["class"] == "system"}
        self.plays = {entry["id"]: entry["recipes"] for entry in self.entries if entry["class"] == "configure"}
        (context,) = [entry for entry in self.entries if entry["class"] == "contextualize"]
        self.steps = sorted((item["step"], item["system"], item["configure"]) for item in context["items"])
        answer = json.loads(im.request("GET", f"/infrastructures/{infrastructure}/state", accept="application/json"))
        self.states = answer["state"]["vm_states"]

    def play(self, name: str) -> dict[str, Any]:
        (play,) = yaml.safe_load(self.plays[name])
        return dict(play)

    def roles(self, name: str) -> list[str]:
        return [role["role"].removeprefix("fedcloud.oscar.") for role in self.play(name)["roles"]]


FRONT_END = ["preflight", "firewall", "kubernetes", "minio", "invoker", "ingress"]
WORKERS = ["preflight", "firewall", "kubernetes"]


@pytest.fixture(scope="module")
def made(im: ImServer, web: str) -> Mapping[str, Made]:
    """All recipes, each as an infrastructure."""
    elastic = {"im_url": INPUTS["im_url"], "im_auth": CREDENTIALS, "im_refresh_token": INPUTS["refresh_token"]}
    documents = {
        "tosca": (tosca(web, "oscar.yaml", wn_num=2, cluster_name="my", domain_name="example.org"), "text/yaml"),
        "elastic tosca": (tosca(web, "oscar.yaml", "oscar_elastic.yaml", wn_num=1, **elastic), "text/yaml"),
        "radl": (radl("oscar.radl"), "text/plain"),
        "elastic radl": (radl("oscar_elastic.radl"), "text/plain"),
        "ec3": (radl("oscar_ec3.radl"), "text/plain"),
    }
    return {name: Made(im, im.create(document, kind)) for name, (document, kind) in documents.items()}


@pytest.mark.parametrize(
    ("name", "machines"), [("tosca", 3), ("elastic tosca", 2), ("radl", 3), ("elastic radl", 1), ("ec3", 1)]
)
def test_im_makes_the_machines(made: Mapping[str, Made], name: str, machines: int) -> None:
    assert len(made[name].states) == machines
    assert set(made[name].states.values()) == {"pending"}


@pytest.mark.parametrize("name", ["tosca", "elastic tosca", "radl", "elastic radl", "ec3"])
def test_the_collection_is_installed_in_the_way_that_im_knows(made: Mapping[str, Made], name: str) -> None:
    front = made[name].systems.get("front_end") or made[name].systems["front"]
    names = [application["name"] for application in front["disk.0.applications"]]
    assert names == ["ansible.collections.fedcloud.oscar"]


def test_radl_runs_the_plays_of_the_folder_in_order(made: Mapping[str, Made]) -> None:
    assert made["radl"].steps == [(1, "front_end", "front_end"), (2, "workers", "workers")]
    assert made["elastic radl"].steps == [(1, "front_end", "front_end"), (2, "front_end", "autoscaler")]
    assert made["ec3"].steps == [(1, "front", "front"), (2, "front", "autoscaler")]
    assert set(made["radl"].systems) == {"front_end", "workers"}


@pytest.mark.parametrize(
    ("name", "configure", "file"),
    [
        ("radl", "front_end", "front_end"),
        ("radl", "workers", "workers"),
        ("elastic radl", "front_end", "front_end"),
        ("elastic radl", "autoscaler", "autoscaler"),
        ("ec3", "front", "front_end"),
        ("ec3", "autoscaler", "autoscaler"),
    ],
)
def test_the_plays_in_radl_are_those_of_the_folder(
    made: Mapping[str, Made], name: str, configure: str, file: str
) -> None:
    (expected,) = yaml.safe_load((RECIPES / "plays" / f"{file}.yml").read_text())
    play = made[name].play(configure)
    assert play["roles"] == expected["roles"]
    assert play["pre_tasks"] == expected["pre_tasks"]
    for variable, value in expected["vars"].items():
        changed = "'equalto', 'front')" if name == "ec3" else "'equalto', 'front_end')"
        written = value.replace("'equalto', 'front_end')", changed) if isinstance(value, str) else value
        assert play["vars"][variable] == written


def test_tosca_runs_the_workers_after_the_front_end(made: Mapping[str, Made]) -> None:
    step = {configure: step for step, _system, configure in made["tosca"].steps}
    front, worker = (next(name for name in step if name.endswith(end)) for end in ("front_end_conf", "workers_conf"))
    assert step[front] < step[worker]
    assert made["tosca"].roles(front) == FRONT_END
    assert made["tosca"].roles(worker) == WORKERS
    assert set(made["tosca"].systems) == {"front_end", "workers"}


def test_inputs_of_tosca_become_variables_of_roles(made: Mapping[str, Made]) -> None:
    variables = made["tosca"].play("oscar_front_end_conf")["vars"]
    assert variables["ingress_domain"] == "my.example.org"
    assert variables["firewall_admin_networks"] == ["0.0.0.0/0"]
    assert re.fullmatch(r"[A-Za-z0-9]{20}", variables["invoker_admin_password"])
    front = made["tosca"].systems["front_end"]
    assert (front["disk.1.mount_path"], front["cpu.count_min"]) == ("/var/lib/minio", 4)
    names = {value for key, value in front.items() if re.fullmatch(r"net_interface\.\d+\.dns\.\d+\.name", key)}
    assert "*.my@example.org" in names


def test_tosca_tells_the_dashboard_what_to_show() -> None:
    main, child = (
        yaml.safe_load((RECIPES / "tosca" / name).read_text()) for name in ("oscar.yaml", "oscar_elastic.yaml")
    )
    assert main["metadata"]["childs"] == ["oscar_elastic.yaml"]
    assert child["metadata"]["parents"] == ["oscar.yaml"]
    for document in (main, child):
        shown = [each for tab in document["metadata"]["tabs"].values() for each in tab]
        names = {next(iter(each)) if isinstance(each, dict) else each for each in shown}
        assert names == set(document["topology_template"]["inputs"])
    assert {"api_endpoint", "portal_endpoint", "storage_endpoint"} <= set(main["topology_template"]["outputs"])


@pytest.mark.parametrize("name", ["elastic radl", "ec3", "elastic tosca"])
def test_the_autoscaler_gets_settings_that_it_accepts(made: Mapping[str, Made], name: str, tmp_path: Path) -> None:
    """The play's variables, evaluated by the Ansible that IM installs, with what IM adds."""
    configure = next(each for each in made[name].plays if "autoscaler" in each)
    simple = [
        {key.replace(".", "_"): value for key, value in entry.items()}
        for entry in made[name].entries
        if entry["class"] in ("system", "network", "deploy")
    ]
    given = {"IM_INFRASTRUCTURE_RADL": simple, "IM_INFRASTRUCTURE_ID": "f8d1d792-e808-11f1"}
    wanted = ("autoscaler_cluster", "autoscaler_clouds", "autoscaler_secrets", "autoscaler_pools")
    tasks = [{"name": "show", "ansible.builtin.set_fact": {variable: f"{{{{ {variable} }}}}" for variable in wanted}}]
    run = Ansible("2.16", tmp_path).play(tasks, vars=made[name].play(configure)["vars"] | given)
    assert run.code == 0, run.output
    facts = run["show"].result["ansible_facts"]
    cloud = build("im", facts["autoscaler_cluster"], facts["autoscaler_clouds"]["im"])
    (pool,) = facts["autoscaler_pools"]
    assert cloud.check(pool["template"]) == []
    assert pool["template"]["image"] == IMAGE
    assert pool["template"]["networks"] == [network_of(made[name])]
    assert (pool["min"], pool["capacity"]["cpu"]) == (0, "3900m")
    if name != "ec3":
        assert facts["autoscaler_secrets"]["im-auth"].splitlines() == CREDENTIALS
        assert facts["autoscaler_secrets"]["im-refresh-token"] == "refresh-me"


def network_of(made: Made) -> str:
    return next(str(e["id"]) for e in made.entries if e["class"] == "network" and e.get("outbound") != "yes")


def test_the_plays_are_understood_by_the_ansible_that_im_installs(made: Mapping[str, Made], tmp_path: Path) -> None:
    ansible = Ansible("2.16", tmp_path)
    books = []
    for name, each in made.items():
        for configure in each.plays:
            play = {"hosts": "target", "become": True, "gather_facts": False, **each.play(configure)}
            books.append(tmp_path / f"{name.replace(' ', '_')}_{configure}.yml")
            books[-1].write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [ansible.bin / "ansible-playbook", "-i", tmp_path / "inventory", "--syntax-check", *books],
        env=ansible._environment(tmp_path / "results"),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(books) == 11
