# SPDX-License-Identifier: Apache-2.0
"""Declaring many services by one task of a playbook, with real MinIO behind."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import yaml
from parts.ansible_run import Ansible
from parts.site import Site, running_site
from parts.waiting import eventually

ROUNDS = 3


def fdl(folder: Path, count: int, buckets: bool) -> Path:
    """An FDL file of so many services; each with buckets of its own, or all in one."""
    functions = []
    for number in range(count):
        name = f"s{count}-{number}"
        bucket = name if buckets else "many"
        service = {
            "name": name,
            "image": "none",
            "script": "script.sh",
            "input": [{"storage_provider": "minio", "path": f"{bucket}/in-{number}"}],
            "output": [{"storage_provider": "minio", "path": f"{bucket}/out-{number}"}],
        }
        functions.append({"oscar-cluster": service})
    (folder / "script.sh").write_text('cp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/"\n')
    path = folder / f"{count}.yml"
    path.write_text(yaml.safe_dump({"functions": {"oscar": functions}}))
    return path


def run(ansible: Ansible, site: Site, path: Path) -> tuple[float, bool]:
    """Seconds of the whole ansible-playbook, and whether its task changed anything."""
    task = {
        "fedcloud.oscar.service": {
            "endpoint": site.daemon.url,
            "username": site.daemon.username,
            "password": site.daemon.password,
            "fdl": str(path),
            "wait": False,
        }
    }
    begin = time.perf_counter()
    played = ansible.play([{"name": "declare", **task}])
    seconds = time.perf_counter() - begin
    if played["declare"].status != "ok":
        raise RuntimeError(played["declare"].message)
    return seconds, played["declare"].changed


def rules_stand(site: Site, count: int) -> bool:
    client = site.minio.client()
    names = {bucket.name for bucket in client.list_buckets()}
    wanted = [f"s{count}-{number}" for number in range(count)]
    return all(name in names and client.get_bucket_notification(name).queue_config_list for name in wanted)


def main(folder: Path) -> None:
    ansible = Ansible("newest", folder)
    with running_site(folder) as site:
        path = fdl(folder, 100, buckets=True)
        begin = time.perf_counter()
        seconds, _ = run(ansible, site, path)
        eventually(lambda: rules_stand(site, 100), 120)
        print(
            f"100 new services: playbook {seconds:.1f} s, buckets and rules after {time.perf_counter() - begin:.1f} s"
        )
        site.daemon.wait_ready(*(f"s100-{number}" for number in range(100)), timeout=300)
        print(f"all ready with their keys after {time.perf_counter() - begin:.1f} s")
        few = unchanged(ansible, site, path)
        thousand = fdl(folder, 1000, buckets=False)
        run(ansible, site, thousand)
        print("making the keys of 1,000 services takes some minutes ...", flush=True)
        site.daemon.wait_ready(*(f"s1000-{number}" for number in range(1000)), timeout=1800)
        writes = site.daemon.metric("oscar_ledger_writes_total")
        many = unchanged(ansible, site, thousand)
        print(f"unchanged: 100 services {few:.2f} s, 1,000 services {many:.2f} s, ratio {many / few:.2f}")
        print(f"ledger writes meanwhile: {site.daemon.metric('oscar_ledger_writes_total') - writes:.0f}")


def unchanged(ansible: Ansible, site: Site, path: Path) -> float:
    """Seconds (median) of a playbook that changes nothing."""
    rounds = [run(ansible, site, path) for _ in range(ROUNDS)]
    if any(changed for _, changed in rounds):
        raise RuntimeError("declaring the same again changed something")
    return statistics.median(seconds for seconds, _ in rounds)
