# SPDX-License-Identifier: Apache-2.0
"""Every law has a test, and every such test fails when the code that keeps the law is broken."""

from __future__ import annotations

from pathlib import Path

import pytest
from parts.mutations import ROOT, Mutation, check_noticed

MUTATIONS: dict[int, list[Mutation]] = {
    1: [
        Mutation(
            "acknowledge before the commit",
            "laws/test_laws.py::test_no_acknowledgement_before_the_commit",
            "sources/webhook.py",
            "            return await self._record(events) if events else 200\n",
            "            asyncio.ensure_future(self._record(events))\n            return 200\n",
        ),
        Mutation(
            "no listing after a repaired rule",
            "laws/test_laws.py::test_what_no_event_told_is_found_by_listing",
            "catalogue/reconciler.py",
            "await self._list(provider_id, repaired, work)",
            "await self._list(provider_id, set(), Work(listings=work.listings))",
        ),
        Mutation(
            "store what is not authenticated",
            "laws/test_laws.py::test_a_bad_event_is_kept_and_acknowledged_and_a_forged_one_is_not",
            "sources/webhook.py",
            "        return sum(hmac.compare_digest(authorization, token) for token in self._accepted) > 0\n",
            "        return True\n",
        ),
        Mutation(
            "refuse a bad event",
            "laws/test_laws.py::test_a_bad_event_is_kept_and_acknowledged_and_a_forged_one_is_not",
            "sources/webhook.py",
            "return await self._dead_letter(body, str(error), error.events)",
            "return 503",
        ),
    ],
    2: [
        Mutation(
            "every copy of an event is a run",
            "laws/test_laws.py::test_one_success_however_often_the_event_comes",
            "domain/runs.py",
            "revision = digest(service, event.provider, event.bucket, event.key, event.revision)",
            "import time; revision = digest(service, event.key, str(time.time_ns()))",
        ),
    ],
    3: [
        Mutation(
            "restart MinIO for its rules",
            "laws/test_laws.py::test_minio_is_not_restarted_for_a_service",
            "storage/minio/store.py",
            "                self._client.set_bucket_notification(bucket, wanted)\n",
            "                self._client.set_bucket_notification(bucket, wanted)\n"
            "                self._admin.service_restart()\n",
        ),
    ],
    4: [
        Mutation(
            "give jobs the root key",
            "laws/test_laws.py::test_the_job_holds_no_key_but_its_services_own",
            "storage/minio/store.py",
            "    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:\n",
            "    def ensure_credential(self, service: Service, known: Credential | None) -> Credential:\n"
            "        return Credential(self.config.access_key, self.config.secret_key)\n",
        ),
    ],
    5: [
        Mutation(
            "stage out whatever the script says",
            "laws/test_laws.py::test_the_exit_code_decides",
            "launchers/runner/runner.sh",
            'run script || end "$o_code" "$(describe_failure)"',
            "run script",
        ),
    ],
    6: [
        Mutation(
            "write again what is unchanged",
            "laws/test_laws.py::test_declaring_again_writes_nothing",
            "catalogue/catalogue.py",
            "        if not changes and service.name not in self.rejected:\n",
            "        if False:\n",
        ),
    ],
    7: [
        Mutation(
            "delete the data with the service",
            "laws/test_laws.py::test_data_outlives_its_service",
            "catalogue/changes.py",
            'delete_data=change.data == "delete"',
            "delete_data=True",
        ),
    ],
    8: [
        Mutation(
            "remove a node on which a Job runs",
            "laws/test_laws.py::test_the_autoscaler_never_kills_work",
            "autoscaler/planning/scale_down.py",
            "    if node.jobs:\n",
            "    if False:\n",
        ),
        Mutation(
            "remove nodes while the API server is away",
            "laws/test_laws.py::test_the_autoscaler_never_kills_work",
            "autoscaler/planning/placement.py",
            "    if not snapshot.trustworthy:\n",
            "    if False:\n",
        ),
        Mutation(
            "remove a node as soon as it is cordoned",
            "laws/test_laws.py::test_the_autoscaler_never_kills_work",
            "autoscaler/planning/scale_down.py",
            "return self._age(machine) >= self.rules.cordon_pause",
            "return True",
        ),
    ],
}


def test_every_law_has_a_test_and_a_mutation() -> None:
    tests = (Path(__file__).parent / "test_laws.py").read_text()
    every = [mutation for mutations in MUTATIONS.values() for mutation in mutations]
    assert all(f"def {mutation.test.partition('::')[2]}(" in tests for mutation in every)
    numbered = [
        line for line in (ROOT / "docs/architecture.md").read_text().splitlines() if line[:2].rstrip(".").isdigit()
    ]
    assert {int(line.split(".")[0]) for line in numbered} == MUTATIONS.keys()


@pytest.mark.parametrize(
    "mutation", [one for law in MUTATIONS.values() for one in law], ids=lambda mutation: mutation.name
)
def test_the_law_is_noticed_when_broken(mutation: Mutation, tmp_path: Path) -> None:
    check_noticed([mutation], tmp_path, "-x")
