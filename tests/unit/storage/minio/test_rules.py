# SPDX-License-Identifier: Apache-2.0
"""Our notification rules are exactly what they should be; those of others are left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from minio.notificationconfig import (
    NotificationConfig,
    PrefixFilterRule,
    QueueConfig,
    SuffixFilterRule,
    TopicConfig,
)

from oscar_fedcloud.storage.minio.rules import covering, merge
from oscar_fedcloud.storage.s3_events import CREATIONS

FAST, DURABLE, OTHER = (f"arn:minio:sqs::{name}:webhook" for name in ("oscarfast", "oscardurable", "other"))
OURS = (FAST, DURABLE)

prefixes = st.lists(st.text("ab/", max_size=4), max_size=6)


@st.composite
def rules(draw: st.DrawFn, arns: tuple[str, ...] = (FAST, DURABLE, OTHER)) -> QueueConfig:
    prefix, suffix = draw(st.text("ab/", max_size=3)), draw(st.sampled_from(["", ".jpg"]))
    return QueueConfig(
        draw(st.sampled_from([list(CREATIONS), ["s3:ObjectCreated:*"], ["s3:ObjectRemoved:Delete"]])),
        draw(st.sampled_from(["", "an-id"])),
        PrefixFilterRule(prefix) if prefix else None,
        SuffixFilterRule(suffix) if suffix else None,
        queue=draw(st.sampled_from(arns)),
    )


configurations = st.builds(
    NotificationConfig,
    st.just([]),
    st.lists(rules(), max_size=6),
    st.just([TopicConfig(["s3:ObjectCreated:*"], topic="arn:aws:sns:::topic")]),
)


def merged(found: NotificationConfig, wanted: list[str]) -> NotificationConfig:
    return merge(found, OURS, wanted) or found


def prefixes_of(configuration: NotificationConfig, arn: str) -> list[str]:
    rules = [rule for rule in configuration.queue_config_list if rule.queue == arn]
    return sorted(rule.prefix_filter_rule.value if rule.prefix_filter_rule else "" for rule in rules)


@given(configurations, prefixes)
def test_both_targets_get_exactly_the_prefixes(found: NotificationConfig, wanted: list[str]) -> None:
    after = merged(found, wanted)
    assert prefixes_of(after, FAST) == prefixes_of(after, DURABLE) == covering(wanted)


@given(configurations, prefixes)
def test_merging_again_changes_nothing(found: NotificationConfig, wanted: list[str]) -> None:
    assert merge(merged(found, wanted), OURS, list(reversed(wanted))) is None


@given(configurations, prefixes)
def test_rules_of_others_are_kept(found: NotificationConfig, wanted: list[str]) -> None:
    after = merged(found, wanted)
    theirs = [rule for rule in found.queue_config_list if rule.queue == OTHER]
    assert [rule for rule in after.queue_config_list if rule.queue == OTHER] == theirs
    assert after.topic_config_list == found.topic_config_list
    assert after.cloud_func_config_list == found.cloud_func_config_list


@given(configurations, prefixes)
def test_our_rules_name_what_makes_an_object_and_no_wildcard(found: NotificationConfig, wanted: list[str]) -> None:
    ours = [rule for rule in merged(found, wanted).queue_config_list if rule.queue in OURS]
    assert all(sorted(rule.events) == sorted(CREATIONS) and not rule.suffix_filter_rule for rule in ours)


@given(prefixes, st.text("ab/", max_size=6))
def test_the_cover_covers_the_same_keys(wanted: list[str], key: str) -> None:
    assert any(key.startswith(one) for one in wanted) == any(key.startswith(one) for one in covering(wanted))


@given(prefixes)
def test_the_cover_is_minimal(wanted: list[str]) -> None:
    cover = covering(wanted)
    assert not [(one, other) for one in cover for other in cover if one is not other and other.startswith(one)]


def test_without_prefixes_our_rules_go() -> None:
    found = merged(NotificationConfig(), ["in/"])
    assert merged(found, []).queue_config_list == []
    assert merge(NotificationConfig(), OURS, []) is None


def test_a_rule_that_someone_narrowed_is_repaired() -> None:
    whole = merged(NotificationConfig(), ["in/"])
    narrowed = QueueConfig(["s3:ObjectCreated:Put"], None, PrefixFilterRule("in/"), queue=FAST)
    found = NotificationConfig(queue_config_list=[narrowed, *whole.queue_config_list[1:]])
    assert merged(found, ["in/"]) == whole or merge(merged(found, ["in/"]), OURS, ["in/"]) is None
    assert merge(found, OURS, ["in/"]) is not None


def test_a_doubled_rule_is_repaired() -> None:
    whole = merged(NotificationConfig(), ["in/"])
    assert merge(NotificationConfig(queue_config_list=whole.queue_config_list * 2), OURS, ["in/"]) is not None
