# SPDX-License-Identifier: Apache-2.0
"""Merge the invoker's notification rules of a bucket with other rules. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from minio.notificationconfig import NotificationConfig, PrefixFilterRule, QueueConfig

from oscar_fedcloud.domain.identity import digest
from oscar_fedcloud.storage.s3_events import CREATIONS


def covering(prefixes: Iterable[str]) -> list[str]:
    """Return the fewest prefixes that cover the same keys. MinIO rejects overlapping rules for one target."""
    kept: list[str] = []
    for prefix in sorted(set(prefixes)):
        if not kept or not prefix.startswith(kept[-1]):
            kept.append(prefix)
    return kept


def merge(found: NotificationConfig, arns: Sequence[str], prefixes: Iterable[str]) -> NotificationConfig | None:
    """Return the configuration in which the targets ``arns`` have exactly these prefixes, or None if it is unchanged.

    Rules of other targets are kept unchanged and in order.
    """
    ours = [rule for rule in found.queue_config_list if rule.queue in arns]
    wanted = [_rule(arn, prefix) for arn in arns for prefix in covering(prefixes)]
    if sorted(map(repr, map(_meaning, ours))) == sorted(map(repr, map(_meaning, wanted))):
        return None
    others = [rule for rule in found.queue_config_list if rule.queue not in arns]
    return replace(found, queue_config_list=others + wanted)


def _rule(arn: str, prefix: str) -> QueueConfig:
    name = f"oscar-{digest(arn, prefix)}"
    return QueueConfig(list(CREATIONS), name, PrefixFilterRule(prefix) if prefix else None, queue=arn)


def _meaning(rule: QueueConfig) -> tuple[str | None, str, str, list[str]]:
    """Return the content of a rule without its name."""
    prefix = rule.prefix_filter_rule.value if rule.prefix_filter_rule else ""
    suffix = rule.suffix_filter_rule.value if rule.suffix_filter_rule else ""
    return (rule.queue, prefix, suffix, sorted(rule.events))
