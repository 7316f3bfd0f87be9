# SPDX-License-Identifier: Apache-2.0
"""A plan as a person reads it."""

from __future__ import annotations

from typing import Any

from oscar_fedcloud.cli.oscar.plan import lines, summary
from oscar_fedcloud.fdl import diff_documents, parse_service, to_document

SERVICE = {
    "name": "copy",
    "image": "busybox",
    "script": "#!/bin/sh\ntrue\n",
    "memory": "1Gi",
    "input": [{"storage_provider": "minio", "path": "copy/in"}],
    "environment": {"secrets": {"PASSWORD": "hush-hush"}},
}


def item(action: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    documents = [None if each is None else to_document(parse_service(each), secrets=False) for each in (before, after)]
    changes = [{"path": c.path, "before": c.before, "after": c.after} for c in diff_documents(*documents)]
    return {"name": "copy", "action": action, "changes": changes, "revision": "2"}


def test_of_a_new_service_only_what_is_not_usual_is_shown() -> None:
    assert [line.strip() for line in lines([item("create", None, SERVICE)])] == [
        "+ create copy",
        "+ memory: 1Gi",
        "+ image: busybox",
        "+ input[0].path: copy/in",
        "+ script: 2 lines",
        "+ environment.secrets.PASSWORD: hidden",
    ]


def test_of_a_change_the_fields_are_shown_with_both_values_and_a_script_as_a_diff() -> None:
    after = {**SERVICE, "memory": "2Gi", "script": "#!/bin/sh\nfalse\x1b[31m\n", "environment": {}}
    shown = [line.strip() for line in lines([item("update", SERVICE, after)])]
    assert shown[0] == "~ update copy (revision 2)"
    assert "~ memory: 1Gi -> 2Gi" in shown
    assert {"-true", "+false\\x1b[31m", "#!/bin/sh"} <= set(shown)
    assert not any("image" in line or "hush" in line for line in shown)


def test_the_summary_counts_each_kind() -> None:
    plan = [{"action": action} for action in ("create", "create", "update", "delete", "unchanged", "absent")]
    assert summary(plan) == "2 to create, 1 to update, 1 to delete, 1 unchanged, 1 not there"
    assert summary([]) == "nothing to do"
