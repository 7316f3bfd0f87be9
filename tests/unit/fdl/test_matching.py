# SPDX-License-Identifier: Apache-2.0
"""Which objects start a service."""

from __future__ import annotations

import pytest
from parts.fdl_cases import minimal, place

from oscar_fedcloud.fdl import Match, Service, from_document, match, parse_service, to_document

SERVICE = parse_service(
    minimal(
        input=[
            place("photos/in", suffix=[".jpg", ".jpeg"]),
            place("photos/in/raw", prefix=["dsc", "img"]),
            place("other/in"),
        ]
    )
)


@pytest.mark.parametrize(
    ("bucket", "key", "expected"),
    [
        ("photos", "in/a.jpg", Match("match", 0)),
        ("photos", "in/sub/b.jpeg", Match("match", 0)),
        ("photos", "in/a.png", Match("suffix", 0)),
        ("photos", "in/raw/dsc1.nef", Match("match", 1)),
        ("photos", "in/raw/x.nef", Match("suffix", 0)),
        ("photos", "in/raw/x.jpg", Match("match", 0)),
        ("photos", "input/a.jpg", Match("no", -1)),
        ("photos", "in", Match("no", -1)),
        ("photos", "out/in/a.jpg", Match("no", -1)),
        ("other", "in/any thing\n$(id)", Match("match", 2)),
        ("other", "in/\udcff", Match("match", 2)),
        ("other", "in/", Match("no", -1)),
        ("other", "in/folder/", Match("no", -1)),
        ("elsewhere", "in/a.jpg", Match("no", -1)),
    ],
)
def test_bucket_folder_and_name(bucket: str, key: str, expected: Match) -> None:
    assert match(SERVICE, "minio.default", bucket, key) == expected


def test_the_store_counts() -> None:
    assert match(SERVICE, "s3.default", "other", "in/a") == Match("no", -1)


def test_a_whole_bucket() -> None:
    document = to_document(parse_service(minimal(input=[place("photos/in")])))
    document["input"][0]["path"] = "photos"
    service: Service = from_document(document)
    assert (service.input[0].bucket, service.input[0].folder, service.input[0].key_prefix) == ("photos", "", "")
    assert match(service, "minio.default", "photos", "anything/at/all") == Match("match", 0)


def test_names_are_compared_without_their_folder() -> None:
    service = parse_service(minimal(input=[place("photos/in", prefix=["in"])]))
    assert match(service, "minio.default", "photos", "in/in.txt") == Match("match", 0)
    assert match(service, "minio.default", "photos", "in/x.txt") == Match("suffix", 0)
