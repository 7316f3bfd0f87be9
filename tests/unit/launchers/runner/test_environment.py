# SPDX-License-Identifier: Apache-2.0
"""The runner's environment, made from service, run and stores."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from oscar_fedcloud.domain.events import Origin, StorageEvent
from oscar_fedcloud.domain.runs import OutputPlace, Run, RunState, StoredObject
from oscar_fedcloud.fdl import Service, parse_service
from oscar_fedcloud.launchers.runner.environment import (
    RunnerSettings,
    event_environment,
    file_name,
    remote_name,
    secret_environment,
    service_environment,
    stores_of_run,
    written_environment,
)

SETTINGS = RunnerSettings("/bin/rclone", "minio.default", "logs", 1000, 60.0, "node-1")
EVENT = StorageEvent(
    provider="minio.default",
    bucket="data",
    key="in/a b\n$(id).txt",
    revision="r",
    order=1,
    size=7,
    etag="0" * 32,
    time="2026-11-23T10:00:00Z",
    depth=2,
    record=b'{"eventSource": "minio:s3", "s3": {"object": {"key": "in%2Fa"}}}',
)


def make_service(**fields: Any) -> Service:
    outputs = [
        {"storage_provider": "minio", "path": "results/out", "suffix": [".png"]},
        {"storage_provider": "s3.x", "path": "b"},
    ]
    stores = {"s3": {"x": {"access_key": "AK", "secret_key": "SK", "region": "eu"}}}
    document = {
        "name": "step",
        "image": "i",
        "script": "true",
        "token": "7" * 64,
        "output": outputs,
        "storage_providers": stores,
    }
    return parse_service({**document, "input": [{"storage_provider": "minio", "path": "data/in"}], **fields})


def make_run(event: StorageEvent = EVENT) -> Run:
    return Run("run", "step", event, RunState.RUNNING, "", 0, 0, 0, 0.0, 0.0, None)


def variables(service: Service, event: StorageEvent = EVENT, settings: RunnerSettings = SETTINGS) -> dict[str, str]:
    of_event = event_environment(service, make_run(event), 3, "step-run-3", settings)
    return service_environment(service, settings) | of_event


def test_a_storage_event() -> None:
    found = variables(make_service())
    expected = {
        "STORAGE_OBJECT_KEY": EVENT.key,
        "EVENT_TIME": EVENT.time,
        "JOB_UUID": "step-run-3",
        "OSCAR_ATTEMPT": "3",
        "OSCAR_DEPTH": "3",
        "OSCAR_INPUT_REMOTE": "minio_default",
        "OSCAR_INPUT_BUCKET": "data",
        "OSCAR_INPUT_KEY": "in/a b\u240a$(id).txt",  # as rclone writes names
        "OSCAR_INPUT_NAME": "a b\n$(id).txt",
        "OSCAR_INPUT_SIZE": "7",
        "OSCAR_INPUT_ETAG": EVENT.etag,
        "OSCAR_STAGE_IN": "1",
        "OSCAR_OUTPUTS": "2",
        "OSCAR_OUTPUT_0_REMOTE": "minio_default",
        "OSCAR_OUTPUT_0_PATH": "results/out",
        "OSCAR_OUTPUT_1_FILTER": "",
        "OSCAR_LOG_REMOTE": "minio_default",
        "OSCAR_LOG_PATH": "logs/step/step-run-3.log",
        "OSCAR_LOG_MAX": "1000",
        "OSCAR_STAGING_TIMEOUT": "60",
        "RESOURCE_ID": "node-1",
    }
    assert {name: found[name] for name in expected} == expected
    assert json.loads(found["EVENT"]) == {"Records": [json.loads(EVENT.record)]}
    assert found["OSCAR_OUTPUT_0_FILTER"].startswith("+ /{{")


def test_what_earlier_attempts_wrote_is_listed_by_output() -> None:
    places = (OutputPlace("minio.default", "b", "out"), OutputPlace("minio.default", "b"), OutputPlace("s3.x", "b"))
    written = [
        StoredObject("minio.default", "b", "out/a b\n.txt", 3, "0" * 32),
        StoredObject("minio.default", "b", "other", 2**40),
        StoredObject("minio.default", "b", "out/no size", None, "1" * 32),
        StoredObject("minio.default", "c", "out/of no output", 3, "2" * 32),
    ]
    assert written_environment(written, places) == {
        "OSCAR_OUTPUT_0_WRITTEN": f"{'0' * 32} 3 a b\u240a.txt",
        "OSCAR_OUTPUT_1_WRITTEN": f"{'0' * 32} 3 out/a b\u240a.txt\n {2**40} other",
    }
    assert variables(make_service())["OSCAR_OUTPUT_1_WRITTEN"] == ""


def test_a_list_that_is_too_long_for_a_variable_is_cut() -> None:
    written = [StoredObject("minio.default", "b", f"{number:01000}", 3) for number in range(200)]
    (listed,) = written_environment(written, [OutputPlace("minio.default", "b")]).values()
    assert len(listed) <= 64 * 1024
    assert listed.split("\n")[-1] == f" 3 {listed.count(chr(10)):01000}"


def test_file_stage_in_means_the_opposite() -> None:
    assert variables(make_service(file_stage_in=True))["OSCAR_STAGE_IN"] == "0"


def test_what_is_not_known_is_empty() -> None:
    found = variables(make_service(), replace(EVENT, size=None, etag=""))
    assert (found["OSCAR_INPUT_SIZE"], found["OSCAR_INPUT_ETAG"]) == ("", "")


def test_the_body_of_a_request_is_no_storage_event() -> None:
    record = b'{"queryStringParameters": {"size": "10", "not-a-name": "x", "n": 5}}'
    found = variables(make_service(), replace(EVENT, via=Origin.HTTP, key="step/event-file-1", record=record))
    assert not {"EVENT", "EVENT_TIME", "STORAGE_OBJECT_KEY"} & found.keys()
    assert {name: value for name, value in found.items() if name.startswith("CONT_VAR_")} == {
        "CONT_VAR_size": "10",
        "CONT_VAR_n": "5",
    }
    assert found["OSCAR_INPUT_NAME"] == "event-file-1"


@pytest.mark.parametrize(
    ("isolation", "buckets", "path"),
    [
        ("USER", ["data"], "data/out"),
        ("USER", ["data-of-another"], "results/out"),
        ("SERVICE", ["data"], "results/out"),
    ],
)
def test_outputs_of_private_buckets(isolation: str, buckets: list[str], path: str) -> None:
    found = variables(make_service(isolation_level=isolation, bucket_list=buckets))
    assert found["OSCAR_OUTPUT_0_PATH"] == path


def test_no_variable_of_the_user_takes_the_place_of_one_of_the_runner() -> None:
    mine = dict.fromkeys(("OSCAR_LOG_REMOTE", "OSCAR_OUTPUTS", "EVENT", "OSCAR_RCLONE", "JOB_UUID"), "mine")
    of = make_service(environment={"variables": mine, "secrets": {}})
    assert "mine" not in variables(of).values()
    without_log = variables(of, settings=RunnerSettings("/bin/rclone"))
    assert without_log["OSCAR_LOG_REMOTE"] == without_log["OSCAR_LOG_PATH"] == ""


def test_variables_of_the_user_are_wrapped() -> None:
    of = make_service(environment={"variables": {"RCLONE_DRY_RUN": "true", "A": "b"}, "secrets": {"RCLONE_PASS": "x"}})
    found = variables(of) | secret_environment(of, {})
    assert found["OSCAR_USER_RCLONE_DRY_RUN"] == "true"
    assert found["OSCAR_USER_RCLONE_PASS"] == "x"
    assert found["OSCAR_USER_A"] == "b"
    assert not [name for name in found if name.startswith("RCLONE_")]


def test_secrets_are_apart() -> None:
    of = make_service(environment={"variables": {"A": "b"}, "secrets": {"PASSWORD": "s3cret"}})
    stores = {"minio.default": {"RCLONE_CONFIG_MINIO_DEFAULT_SECRET_ACCESS_KEY": "key"}}
    assert secret_environment(of, stores) == {
        "OSCAR_USER_PASSWORD": "s3cret",
        "OSCAR_SERVICE_TOKEN": "7" * 64,
        "RCLONE_CONFIG_MINIO_DEFAULT_SECRET_ACCESS_KEY": "key",
    }
    assert not {"s3cret", "key", "7" * 64} & set(variables(of).values())


def test_only_the_event_part_depends_on_the_event() -> None:
    of = make_service()
    other = replace(EVENT, key="in/other", bucket="else", depth=9)
    assert service_environment(of, SETTINGS) == service_environment(of, SETTINGS)
    one = event_environment(of, make_run(), 1, "job-1", SETTINGS)
    two = event_environment(of, make_run(other), 2, "job-2", SETTINGS)
    assert one.keys() == two.keys()
    assert not one.keys() & service_environment(of, SETTINGS).keys()


def test_stores_that_a_job_needs() -> None:
    assert stores_of_run(make_service(), make_run(), SETTINGS) == ("minio.default", "s3.x")
    far = replace(EVENT, provider="s3.in")
    assert stores_of_run(make_service(output=[]), make_run(far), RunnerSettings("rclone")) == ("s3.in",)


def test_remote_names_are_usable_and_unique() -> None:
    ids = ["minio.default", "minio.a-b", "minio.a_b", "minio.A_b", "minio.a.b", "s3.default"]
    names = [remote_name(each) for each in ids]
    assert names[0] == "minio_default"
    assert len(set(names)) == len(ids)
    assert all(name.replace("_", "").isalnum() and name.islower() for name in names)


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("in/photo.jpg", "photo.jpg"),
        ("photo.jpg", "photo.jpg"),
        ("in/" + "x" * 255, "x" * 255),
        ("in/" + "x" * 300 + ".jpg", "x" * 251 + ".jpg"),
        ("in/" + "é" * 200 + ".tar", "é" * 125 + ".tar"),
        ("in/." + "x" * 300, "." + "x" * 254),
    ],
)
def test_file_names_fit_a_file_system(key: str, name: str) -> None:
    assert file_name(key) == name
    assert len(file_name(key).encode()) <= 255
