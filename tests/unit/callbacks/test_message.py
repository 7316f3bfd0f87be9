# SPDX-License-Identifier: Apache-2.0
"""What a callback tells of an ended job."""

from __future__ import annotations

import json

from oscar_fedcloud.callbacks.sender import message
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.runs import Run, RunState, StoredObject


def test_it_names_what_the_job_wrote() -> None:
    event = StorageEvent("minio.default", "b", "in/\udcff", "r", 1)
    run = Run("r1", "grayify", event, RunState.SUCCEEDED, "", 1, 0, 0, 0.0, 1.0, 2.0)
    outputs = [StoredObject("minio.default", "b", "out/a\udcff", 3, "etag"), StoredObject("s3.x", "c", "k")]
    told = json.loads(message(run, outputs, 5, "3 objects found"))
    assert told["outputs"] == [
        {"provider": "minio.default", "bucket": "b", "key": "out/a\ufffd", "size": 3, "etag": "etag"},
        {"provider": "s3.x", "bucket": "c", "key": "k", "size": None, "etag": ""},
    ]
    assert (told["outputs_total"], told["summary"], told["key"]) == (5, "3 objects found", "in/\ufffd")
    assert json.loads(message(run))["outputs"] == []
