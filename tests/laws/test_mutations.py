# SPDX-License-Identifier: Apache-2.0
"""Every law has a test, and every such test fails when the code that keeps the law is broken.

Each mutation is applied to a copy of the package; the law's test then runs against that copy, in a process of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutation:
    """How to break one law. test: the one that must notice. file, old, new: the change, in src/oscar_fedcloud."""

    law: int
    name: str
    test: str
    file: str
    old: str
    new: str


MUTATIONS = [
    Mutation(
        1,
        "acknowledge before the commit",
        "test_no_acknowledgement_before_the_commit",
        "sources/webhook.py",
        "            self._commit(events, body, tell)\n",
        "            self._commit(events, body, lambda status: None)\n            tell(200)\n",
    ),
    Mutation(
        1,
        "no listing after a repaired rule",
        "test_what_no_event_told_is_found_by_listing",
        "catalogue/reconciler.py",
        "await self._list(provider_id, repaired, work)",
        "await self._list(provider_id, set(), Work(listings=work.listings))",
    ),
    Mutation(
        1,
        "store what is not authenticated",
        "test_a_bad_event_is_kept_and_acknowledged_and_a_forged_one_is_not",
        "sources/webhook.py",
        "        return sum(hmac.compare_digest(authorization, token) for token in self._accepted) > 0\n",
        "        return True\n",
    ),
    Mutation(
        1,
        "refuse a bad event",
        "test_a_bad_event_is_kept_and_acknowledged_and_a_forged_one_is_not",
        "sources/webhook.py",
        "self._begin(self._bury(body, str(error), error.events), tell)",
        "tell(503)",
    ),
    Mutation(
        2,
        "every copy of an event is a run",
        "test_one_success_however_often_the_event_comes",
        "model.py",
        "revision = digest(service, event.provider, event.bucket, event.key, event.revision)",
        "import time; revision = digest(service, event.key, str(time.time_ns()))",
    ),
    Mutation(
        3,
        "restart MinIO for its rules",
        "test_minio_is_not_restarted_for_a_service",
        "providers/minio.py",
        "                self._client.set_bucket_notification(bucket, wanted)\n",
        "                self._client.set_bucket_notification(bucket, wanted)\n"
        "                self._admin.service_restart()\n",
    ),
    Mutation(
        4,
        "give jobs the root key",
        "test_the_job_holds_no_key_but_its_services_own",
        "providers/minio.py",
        "    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:\n",
        "    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:\n"
        "        return Credential(self.config.access_key, self.config.secret_key)\n",
    ),
    Mutation(
        5,
        "stage out whatever the script says",
        "test_the_exit_code_decides",
        "jobs/runner.sh",
        'run script || end "$o_code" "$(describe_failure)"',
        "run script",
    ),
    Mutation(
        6,
        "write again what is unchanged",
        "test_declaring_again_writes_nothing",
        "catalogue/catalogue.py",
        "        if not changes and service.name not in self.refused:\n",
        "        if False:\n",
    ),
    Mutation(
        7,
        "delete the data with the service",
        "test_data_outlives_its_service",
        "catalogue/changes.py",
        'delete_data=change.data == "delete"',
        "delete_data=True",
    ),
    Mutation(
        8,
        "remove a node on which a Job runs",
        "test_the_autoscaler_never_kills_work",
        "autoscaler/shrink.py",
        "    if node.jobs:\n",
        "    if False:\n",
    ),
    Mutation(
        8,
        "remove nodes while the API server is away",
        "test_the_autoscaler_never_kills_work",
        "autoscaler/plan.py",
        "    if not snapshot.trustworthy:\n",
        "    if False:\n",
    ),
    Mutation(
        8,
        "remove a node as soon as it is cordoned",
        "test_the_autoscaler_never_kills_work",
        "autoscaler/shrink.py",
        "return self._age(machine) >= self.rules.cordon_pause",
        "return True",
    ),
]
LAWS_SO_FAR = {1, 2, 3, 4, 5, 6, 7, 8}


def test_every_law_has_a_test_and_a_mutation() -> None:
    assert {mutation.law for mutation in MUTATIONS} == LAWS_SO_FAR
    tests = (Path(__file__).parent / "test_laws.py").read_text()
    assert all(f"def {mutation.test}(" in tests for mutation in MUTATIONS)
    numbered = [
        line for line in (ROOT / "docs/architecture.md").read_text().splitlines() if line[:2].rstrip(".").isdigit()
    ]
    assert {int(line.split(".")[0]) for line in numbered} == LAWS_SO_FAR


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_law_is_noticed_when_broken(mutation: Mutation, tmp_path: Path) -> None:
    package = tmp_path / "oscar_fedcloud"
    # Follows links. What is compiled comes along, but for files that another process is about to rename.
    shutil.copytree(ROOT / "src/oscar_fedcloud", package, ignore=shutil.ignore_patterns("*.pyc.*"))
    target = package / mutation.file
    source = target.read_text()
    assert source.count(mutation.old) == 1, f"{mutation.file} has not exactly one place to mutate"
    target.write_text(source.replace(mutation.old, mutation.new))
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            f"{ROOT}/tests/laws/test_laws.py::{mutation.test}",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
        cwd=ROOT,
    )
    assert result.returncode == 1, f"nobody noticed:\n{result.stdout}"
    assert "1 failed" in result.stdout, result.stdout
