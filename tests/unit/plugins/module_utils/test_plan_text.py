# SPDX-License-Identifier: Apache-2.0
"""Plans as Ansible shows them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.fedcloud.oscar.plugins.module_utils._services.diff import diff_of, told_by_user
from ansible_collections.fedcloud.oscar.plugins.module_utils._services.plan import first_plan
from ansible_collections.fedcloud.oscar.plugins.module_utils._services.service import relocate

SERVICE = {
    "name": "grayify",
    "image": "debian",
    "script": "#!/bin/sh\ntrue\n",
    "environment": {"secrets": {"K": "geheim"}},
}


def item(*changes: tuple[str, Any, Any]) -> dict[str, Any]:
    leaves = [{"path": path, "before": before, "after": after} for path, before, after in changes]
    return {"name": "grayify", "action": "update", "changes": leaves}


def test_only_the_fields_that_change_are_shown() -> None:
    (part,) = diff_of([item(("memory", "256Mi", "512Mi")), item()])
    assert part == {
        "before_header": "service grayify",
        "after_header": "service grayify",
        "before": "memory: 256Mi\n",
        "after": "memory: 512Mi\n",
    }


def test_values_look_like_yaml() -> None:
    (part,) = diff_of([item(("a", None, True), ("b", None, ""), ("c", None, " x "), ("d", None, []), ("e", None, 0.5))])
    assert part["before"] == ""
    assert part["after"] == 'a: true\nb: ""\nc: " x "\nd: []\ne: 0.5\n'


def test_the_lines_of_a_script_can_be_compared() -> None:
    (part,) = diff_of([item(("script", "#!/bin/sh\necho a\n", "#!/bin/sh\necho b\n"))])
    assert part["before"] == "script: |\n  #!/bin/sh\n  echo a\n"
    assert part["after"] == "script: |\n  #!/bin/sh\n  echo b\n"


def test_the_first_plan_creates_all_and_shows_defaults_but_no_secret() -> None:
    plan = first_plan({"state": "present", "services": [SERVICE]})
    assert plan["changed"]
    assert [(one["name"], one["action"]) for one in plan["plan"]] == [("grayify", "create")]
    (part,) = diff_of(plan["plan"])
    assert part["before"] == ""
    assert "memory: 256Mi\n" in part["after"]
    assert "environment.secrets.K: hidden\n" in part["after"]
    assert "geheim" not in str(plan)


@pytest.mark.parametrize("form", ["services", "fdl"])
def test_of_a_service_that_comes_only_what_the_user_set_is_shown(form: str) -> None:
    chosen = {**SERVICE, "log_level": "INFO", "retry": 3}
    chosen["input"] = [{"storage_provider": "minio", "path": "pics/in", "suffix": [".jpg"]}]
    documents = {"services": [chosen], "fdl": {"functions": {"oscar": [{"here": chosen}]}}}
    body = {"state": "present", form: documents[form]}
    (part,) = diff_of(told_by_user(first_plan(body)["plan"], body))
    fields = [line.partition(": ")[0] for line in part["after"].splitlines() if not line.startswith("  ")]
    assert set(fields) == {
        *("name", "memory", "cpu", "image", "script", "log_level", "retry.attempts"),
        *("environment.secrets.K", "input[0].storage_provider", "input[0].path", "input[0].suffix[0]"),
    }
    assert "log_level: INFO\n" in part["after"], "what was written is shown, though it is the default"


def test_of_a_service_that_goes_what_is_no_default_is_shown() -> None:
    (created,) = first_plan({"state": "present", "services": [{**SERVICE, "memory": "1Gi"}]})["plan"]
    gone = [{**one, "before": one["after"], "after": None} for one in created["changes"]]
    gone.append({"path": "token", "before": "hidden", "after": None})
    item = {**created, "action": "delete", "changes": gone}
    (part,) = diff_of(told_by_user([item], {"state": "absent", "names": ["grayify"]}))
    assert part["after"] == ""
    fields = {line.partition(": ")[0] for line in part["before"].splitlines() if not line.startswith("  ")}
    assert fields == {"name", "memory", "cpu", "image", "script", "environment.secrets.K"}


def test_an_update_shows_all_that_changes() -> None:
    changed = item(("memory", "1Gi", "256Mi"), ("labels", {"a": "b"}, {}))
    assert told_by_user([changed], {"state": "present", "services": [{"name": "grayify"}]}) == [changed]


def test_the_first_plan_of_a_file_has_its_services_in_order() -> None:
    fdl = {"functions": {"oscar": [{"here": {**SERVICE, "name": name}} for name in ("bbb", "aaa")]}}
    plan = first_plan({"state": "present", "fdl": fdl})
    assert [(one["name"], one["after"]["cluster_id"]) for one in plan["plan"]] == [("bbb", "here"), ("aaa", "here")]


def test_without_a_server_nothing_is_there_to_remove() -> None:
    plan = first_plan({"state": "absent", "names": ["a", "b"]})
    assert not plan["changed"]
    assert [one["action"] for one in plan["plan"]] == ["absent", "absent"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("services[1].memory", "functions.oscar[1].b.memory"),
        ("services[0]", "functions.oscar[0].a"),
        ("services[2].memory", "services[2].memory"),
        ("services.x.output", "services.x.output"),
        ("functions.oscar[0].a.cpu", "functions.oscar[0].a.cpu"),
    ],
)
def test_places_are_those_that_the_user_wrote(place: str, expected: str) -> None:
    places = [{"file": "fdl.yml", "path": "functions.oscar[0].a"}, {"file": "b", "path": "functions.oscar[1].b"}]
    file, path = relocate(place, places)
    assert path == expected
    assert bool(file) == (path != place)
