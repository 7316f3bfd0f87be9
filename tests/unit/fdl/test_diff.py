# SPDX-License-Identifier: Apache-2.0
"""Differences of documents, leaf by leaf."""

from __future__ import annotations

from typing import Any

from parts.fdl_cases import minimal, place

from oscar_fedcloud.fdl import diff_documents, parse_service, to_document


def changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[tuple[str, Any, Any]]:
    one = None if before is None else to_document(parse_service(before))
    other = None if after is None else to_document(parse_service(after))
    return [(change.path, change.before, change.after) for change in diff_documents(one, other)]


def test_one_changed_field_is_one_line() -> None:
    assert changes(minimal(), minimal(memory="1Gi")) == [("memory", "256Mi", "1Gi")]


def test_another_spelling_is_no_change() -> None:
    old = minimal(
        retry=2, timeout="1m", input=[place("in", "minio")], environment={"Variables": {"A": 1}}, script="a\r\nb"
    )
    new = minimal(
        retry={"attempts": 2},
        timeout=60,
        input=[place("grayify/in")],
        environment={"variables": {"A": "1"}},
        script="a\nb",
    )
    assert changes(old, new) == []


def test_members_of_lists_and_mappings() -> None:
    before = minimal(input=[place("bucket/a"), place("bucket/b")], labels={"a": "1", "x.org/b": "2"})
    after = minimal(input=[place("bucket/a", suffix=[".png"])], labels={"a": "9"})
    assert changes(before, after) == [
        ("input[0].suffix[0]", None, ".png"),
        ("input[1].storage_provider", "minio.default", None),
        ("input[1].path", "bucket/b", None),
        ("input[1].suffix", [], None),
        ("input[1].prefix", [], None),
        ("input[1].existing", "ignore", None),
        ("labels.a", "1", "9"),
        ('labels["x.org/b"]', "2", None),
    ]


def test_a_script_is_one_leaf() -> None:
    assert changes(minimal(script="a\nb\n"), minimal(script="a\nc\n")) == [("script", "a\nb\n", "a\nc\n")]


def test_a_new_and_a_deleted_service() -> None:
    created = changes(None, minimal())
    assert ("memory", None, "256Mi") in created
    assert ("input", None, []) in created
    assert ("expose.min_scale", None, 1) in created
    assert [(path, after, before) for path, before, after in changes(minimal(), None)] == created
    assert diff_documents(None, None) == []


def test_a_leaf_that_becomes_a_group() -> None:
    after = minimal(mount=place("bucket/x"))
    assert changes(minimal(), after) == [
        ("mount.storage_provider", None, "minio.default"),
        ("mount.path", None, "bucket/x"),
    ]
