# SPDX-License-Identifier: Apache-2.0
"""Each role alone on one host, as the Infrastructure Manager runs plays: per VM, with ``--limit``, facts from a cache.

Its contextualisation agent runs one play for each VM, from one of them, with ``jinja2.ext.do``, pipelining and cached
facts, on ansible-core 2.16. See https://imdocs.readthedocs.io.
"""

from __future__ import annotations

import json

import pytest
import yaml
from deployed import CA_FILE, FRONT, INVENTORY, WORKERS, Deployed, changed
from parts.ansible_run import ROOT, Ansible, Run
from workloads import COPY, put, service

pytestmark = [pytest.mark.site, pytest.mark.full]
# What each role needs to know of the others when no playbook tells it.
NAMES = {"ingress_port": 443}
STORE = {
    "invoker_public_url": "https://api.oscar.test",
    "invoker_storage_public_endpoint": "https://s3.oscar.test",
}
PLAYS: tuple[tuple[str, str, dict[str, object]], ...] = (
    (FRONT, "preflight", {}),
    (FRONT, "firewall", NAMES),
    (FRONT, "kubernetes", {}),
    (WORKERS[0], "firewall", {}),
    (WORKERS[0], "kubernetes", {}),
    (WORKERS[1], "firewall", {}),
    (WORKERS[1], "kubernetes", {}),
    (FRONT, "minio", {}),
    (FRONT, "invoker", STORE),
    (FRONT, "ingress", NAMES),
)


@pytest.fixture(scope="module")
def manager(site: Deployed, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    """Ansible as that manager sets it up; the machines are fresh."""
    site.machine("reset", FRONT, *WORKERS)
    folder = tmp_path_factory.mktemp("manager")
    return Ansible(
        "2.16",
        folder,
        {
            "ANSIBLE_JINJA2_EXTENSIONS": "jinja2.ext.do",
            "ANSIBLE_PIPELINING": "true",
            "ANSIBLE_GATHERING": "smart",
            "ANSIBLE_CACHE_PLUGIN": "jsonfile",
            "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "facts"),
            "ANSIBLE_CACHE_PLUGIN_TIMEOUT": "86400",
        },
    )


def run(
    site: Deployed, manager: Ansible, host: str, name: str, plays: list[dict[str, object]], variables: object
) -> Run:
    """Run plays for all hosts, limited to one."""
    book = manager.folder / f"{host}-{name}.yml"
    book.write_text(json.dumps([{**play, "hosts": "front_end:workers"} for play in plays]), encoding="utf-8")
    done = manager.run(book, "-i", str(INVENTORY), "--limit", host, "-e", json.dumps(variables))
    (site.folder / f"{host}-{name}.log").write_text(done.output, encoding="utf-8")
    assert done.code == 0, done.output[-8000:]
    return done


@pytest.mark.parametrize(("host", "role", "variables"), PLAYS, ids=[f"{role}-{host}" for host, role, _ in PLAYS])
def test_a_role_runs_alone(
    site: Deployed, manager: Ansible, host: str, role: str, variables: dict[str, object]
) -> None:
    given = {"ingress_ca_dest": str(CA_FILE), **variables}
    run(site, manager, host, role, [{"roles": [{"role": f"fedcloud.oscar.{role}"}]}], given)


@pytest.mark.parametrize(("host", "recipe"), [(FRONT, "front_end"), *((worker, "workers") for worker in WORKERS)])
def test_the_plays_of_the_recipes_find_nothing_to_change(
    site: Deployed, manager: Ansible, host: str, recipe: str
) -> None:
    plays = yaml.safe_load((ROOT / "recipes" / "plays" / f"{recipe}.yml").read_text(encoding="utf-8"))
    assert changed(run(site, manager, host, recipe, plays, {"ingress_ca_dest": str(CA_FILE)})) == []


def test_they_make_a_working_site(site: Deployed) -> None:
    site.forget()
    site.declare(service("alone", COPY))
    put(site, "alone", "in/a")
    (job,) = site.wait_jobs(1, service="alone")
    assert job["state"] == "succeeded", job
