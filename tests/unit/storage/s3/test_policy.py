# SPDX-License-Identifier: Apache-2.0
"""The key of a service opens its own doors and no other."""

from __future__ import annotations

import random
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar_fedcloud.fdl import Input, Output, Service
from oscar_fedcloud.storage.s3.policy import same_policy, service_policy

SITE = "minio.default"
ALLOWED = {
    "s3:GetObject",
    "s3:PutObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
    "s3:ListBucket",
    "s3:GetBucketLocation",
}
buckets = st.sampled_from(["one", "two", "three"])
folders = st.sampled_from(["", "in", "in/deep", "out", "other"])
providers = st.sampled_from([SITE, "s3.aws"])


def service(inputs: list[tuple[str, str, str]], outputs: list[tuple[str, str, str]], name: str = "svc") -> Service:
    def path(bucket: str, folder: str) -> str:
        return f"{bucket}/{folder}" if folder else bucket

    return Service(
        name=name,
        input=tuple(Input(storage_provider=store, path=path(*place)) for store, *place in inputs),
        output=tuple(Output(storage_provider=store, path=path(*place)) for store, *place in outputs),
    )


places = st.lists(st.tuples(providers, buckets, folders), max_size=3)
services = st.builds(service, places, places)


def may(policy: dict[str, Any], action: str, bucket: str, key: str = "", prefix: str | None = None) -> bool:
    """What a store decides: a wildcard match of action and resource, and of ``s3:prefix`` where it is a condition."""
    resource = f"arn:aws:s3:::{bucket}" + (f"/{key}" if key else "")
    for statement in policy["Statement"]:
        patterns = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix", ["*"])
        fits = prefix is None or any(fnmatchcase(prefix, one) for one in patterns)
        if fits and action in statement["Action"] and any(fnmatchcase(resource, one) for one in statement["Resource"]):
            return True
    return False


def inside(item: Input | Output, bucket: str, key: str) -> bool:
    return (
        item.storage_provider == SITE
        and item.bucket == bucket
        and key.startswith(f"{item.folder}/" if item.folder else "")
    )


@given(services, buckets, folders)
def test_objects_may_be_read_and_written_where_the_service_says(svc: Service, bucket: str, folder: str) -> None:
    policy = service_policy(svc, SITE, "logs", "internal")
    key = f"{folder}/file" if folder else "file"
    is_input = any(inside(item, bucket, key) for item in svc.input)
    is_output = any(inside(item, bucket, key) for item in svc.output)
    assert may(policy, "s3:GetObject", bucket, key) == (is_input or is_output)
    assert may(policy, "s3:PutObject", bucket, key) == is_output
    assert may(policy, "s3:ListBucket", bucket, prefix=key) == (is_input or is_output)


@given(services)
def test_nothing_but_the_known_actions_is_allowed(svc: Service) -> None:
    statements = service_policy(svc, SITE, "logs", "internal")["Statement"]
    assert {action for statement in statements for action in statement["Action"]} <= ALLOWED
    assert all(statement["Effect"] == "Allow" and statement["Resource"] for statement in statements)


@given(services)
def test_conditions_stand_with_listing_only(svc: Service) -> None:
    for statement in service_policy(svc, SITE, "logs", "internal")["Statement"]:
        assert "Condition" not in statement or statement["Action"] == ["s3:ListBucket"]
        assert statement["Action"] == ["s3:GetBucketLocation"] or "s3:GetBucketLocation" not in statement["Action"]


@given(services)
def test_the_service_has_its_own_part_of_the_logs_and_bodies(svc: Service) -> None:
    policy = service_policy(svc, SITE, "logs", "internal")
    assert may(policy, "s3:PutObject", "logs", "svc/job.log")
    assert not may(policy, "s3:PutObject", "logs", "other/job.log")
    assert not may(policy, "s3:PutObject", "logs", "svc2/job.log")
    assert may(policy, "s3:GetObject", "internal", "svc/event-file-1")
    assert not may(policy, "s3:PutObject", "internal", "svc/event-file-1")
    assert not may(policy, "s3:GetObject", "internal", "other/event-file-1")


def test_other_providers_are_left_out() -> None:
    svc = service([("s3.aws", "one", "in")], [(SITE, "two", "out")])
    policy = service_policy(svc, SITE)
    assert not may(policy, "s3:GetObject", "one", "in/file")
    assert may(policy, "s3:PutObject", "two", "out/file")


def test_an_input_of_a_whole_bucket_has_no_condition() -> None:
    policy = service_policy(service([(SITE, "one", "")], []), SITE)
    assert may(policy, "s3:ListBucket", "one", prefix="")
    assert all("Condition" not in statement for statement in policy["Statement"])


@pytest.mark.parametrize("folder", ["a*b", "a?", "x${aws:username}"])
def test_a_folder_that_would_be_a_pattern_is_refused(folder: str) -> None:
    with pytest.raises(ValueError, match="policy"):
        service_policy(service([(SITE, "one", folder)], []), SITE)


@given(services, st.randoms(use_true_random=False))
def test_the_order_of_a_policy_says_nothing(svc: Service, chance: random.Random) -> None:
    policy = service_policy(svc, SITE, "logs", "internal")
    shuffled = {
        "Statement": [
            {
                name: chance.sample(value, len(value)) if isinstance(value, list) else value
                for name, value in one.items()
            }
            for one in chance.sample(policy["Statement"], len(policy["Statement"]))
        ],
        "Version": policy["Version"],
    }
    assert same_policy(policy, shuffled)


@given(services, services)
def test_policies_of_different_services_differ(one: Service, other: Service) -> None:
    first, second = (service_policy(svc, SITE, "logs", "internal") for svc in (one, other))
    assert same_policy(first, second) == (repr(first) == repr(second))


def test_one_right_more_is_another_policy() -> None:
    policy = service_policy(service([(SITE, "one", "in")], []), SITE)
    more = {**policy, "Statement": [*policy["Statement"], {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}
    assert not same_policy(policy, more)
    assert not same_policy(policy, {})
