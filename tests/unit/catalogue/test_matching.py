# SPDX-License-Identifier: Apache-2.0
"""A filter that fails on a strange record leaves out that event, whatever it fails of."""

from __future__ import annotations

import pytest

from oscar_fedcloud.catalogue.matching import Matcher, filter_rule
from oscar_fedcloud.domain.events import EventOutcome, StorageEvent
from oscar_fedcloud.fdl import Input, Service

DEEP = b"[" * 10_000 + b"]" * 10_000


@pytest.mark.parametrize("record", [DEEP, b"no json", b"1" * 5000, b"", b"[" * 900 + b"]" * 900])
@pytest.mark.parametrize("expression", ["contains(to_string(@), 'x')", "sort(@)", "abs(a)"])
def test_any_record_is_filtered_and_never_raises(expression: str, record: bytes) -> None:
    source = Input(storage_provider="minio.default", path="bucket/in")
    matcher = Matcher([Service(name="svc", filter=expression, input=(source,))], max_depth=3)
    recording = matcher.recording(StorageEvent("minio.default", "bucket", "in/a", "1", 1, record=record))
    assert recording.outcome is EventOutcome.FILTERED
    assert len(recording.detail) < 400


def test_a_filter_that_is_nested_too_deeply_is_refused() -> None:
    (problem,) = filter_rule(Service(name="svc", filter="(" * 10_000 + "a" + ")" * 10_000))
    assert "is not JMESPath" in problem.message
