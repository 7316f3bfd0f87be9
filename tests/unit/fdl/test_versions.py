# SPDX-License-Identifier: Apache-2.0
"""Spellings of all versions of OSCAR, and documents as its clients in Go send them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from parts.fdl_cases import BY_VERSION, TOKEN, file_of, full, minimal, place

from oscar_fedcloud.fdl import FdlError, from_document, parse_fdl, parse_service, to_document


@pytest.mark.parametrize("version", BY_VERSION)
def test_documents_of_every_version_are_read_strictly(version: str) -> None:
    document: dict[str, Any] = {}
    for name, fields in BY_VERSION.items():
        document.update(fields)
        if name == version:
            break
    service = parse_service(document)
    assert parse_service(to_document(service)) == service


def test_old_spellings_mean_the_new_fields() -> None:
    old = parse_service({**{k: v for fields in BY_VERSION.values() for k, v in fields.items()}})
    assert old.environment.variables == {"A": "1"}
    assert old.output[0].storage_provider == "minio.default"
    assert old.federation is not None
    assert (old.federation.rescheduler_threshold, old.federation.delegation) == (15, "load-based")
    assert [(m.cluster_id, m.ssl_verify) for m in old.federation.members] == [("us", True)]
    assert (old.expose.api_port, old.expose.nodePort, old.isolation_level) == ((5000,), (30500,), "USER")
    document = to_document(old)
    assert not {"replicas", "delegation", "rescheduler_threshold"} & document.keys()
    assert "Variables" not in document["environment"]


def test_one_port_or_a_list_and_the_name_of_the_first_versions() -> None:
    for expose in ({"port": 80}, {"api_port": 80}, {"api_port": [80]}):
        assert parse_service(minimal(expose=expose)).expose.api_port == (80,)
    for expose in ({"api_port": 0}, {"api_port": [0]}, {}):
        assert parse_service(minimal(expose=expose)).expose.api_port == ()


def test_examples_of_upstream_read_without_change() -> None:
    data = {
        "functions": {
            "oscar": [
                {
                    "oscar-cluster": {
                        "name": "mask-detector",
                        "memory": "2Gi",
                        "cpu": 1.5,
                        "image": "grycap/mask-detector-yolo:full",
                        "script": "x",
                        "log_level": "CRITICAL",
                        "input": [place("mask-detector/input")],
                        "output": [place("/output")],
                    }
                },
                {
                    "oscar-intertwin": {
                        "name": "thermal",
                        "image": "docker://ai4oshub/thermal",
                        "script": "x",
                        "interlink_node_name": "vega-new-vk",
                        "annotations": {
                            "slurm-job.vk.io/flags": "--time=00:30:00",
                            "job.vk.io/singularity-mounts": "--bind",
                        },
                    }
                },
            ]
        }
    }
    first, second = parse_fdl(data).services
    assert (first.cpu, first.cpu_cores, first.memory_bytes) == ("1.5", 1.5, 2 * 2**30)
    assert first.output[0].path == "mask-detector/output"
    assert second.annotations["slurm-job.vk.io/flags"] == "--time=00:30:00"


def test_a_single_name_is_a_folder_in_the_bucket_of_the_service() -> None:
    providers = {
        "s3": {"a": {"access_key": "x", "secret_key": "y"}},
        "webdav": {"d": {"hostname": "h", "login": "l", "password": "p"}},
    }
    outputs = [place("out"), place("/out/"), place("out", "s3.a"), place("out", "webdav.d"), place(" b-1/c/d/ ")]
    service = parse_service(minimal(output=outputs, storage_providers=providers))
    assert [p.path for p in service.output] == ["grayify/out", "grayify/out", "grayify/out", "out", "b-1/c/d"]
    assert (service.output[4].bucket, service.output[4].folder, service.output[4].key_prefix) == ("b-1", "c/d", "c/d/")


# What a client of v3 in Go sends for a service with only name, image and script.
GO_ZEROS: dict[str, Any] = {
    "name": "cowsay",
    "cluster_id": "",
    "memory": "",
    "cpu": "",
    "total_memory": "",
    "total_cpu": "",
    "enable_gpu": False,
    "enable_sgx": False,
    "image_prefetch": False,
    "synchronous": {"min_scale": 0, "max_scale": 0},
    "delegation": "",
    "rescheduler_threshold": 0,
    "log_level": "",
    "image": "ghcr.io/grycap/cowsay",
    "alpine": False,
    "token": "",
    "file_stage_in": False,
    "input": None,
    "output": None,
    "script": "cowsay hi\n",
    "expose": {
        "min_scale": 0,
        "max_scale": 0,
        "cpu_threshold": 0,
        "rewrite_target": False,
        "nodePort": 0,
        "default_command": False,
        "set_auth": False,
        "health_path": "",
    },
    "environment": {"variables": None, "secrets": None},
    "annotations": None,
    "vo": "",
    "labels": None,
    "storage_providers": {
        "s3": None,
        "minio": {"default": {"endpoint": "", "verify": False, "access_key": "", "secret_key": "", "region": ""}},
    },
    "owner": "",
    "interlink_node_name": "",
    "visibility": "",
    "allowed_users": None,
    "isolation_level": "",
    "bucket_list": None,
    "mount": {"storage_provider": "", "path": ""},
    "volume_status": {"enabled": False},
}


def test_null_and_zero_values_of_go_clients_mean_not_given() -> None:
    service = parse_service(GO_ZEROS, strict=False)
    assert service == parse_service({"name": "cowsay", "image": "ghcr.io/grycap/cowsay", "script": "cowsay hi\n"})


def test_zero_values_that_are_meant_are_kept() -> None:
    fields = {"environment": {"variables": {"DEBUG": ""}, "secrets": {"EMPTY": ""}}, "timeout": 0}
    service = parse_service(minimal(**fields, expose={"api_port": 80, "min_scale": 0}), strict=False)
    assert (service.environment.variables, service.environment.secrets) == ({"DEBUG": ""}, {"EMPTY": ""})
    assert (service.expose.min_scale, service.expose.max_scale) == (0, 10)


def test_case_of_names_is_free_when_lenient_only() -> None:
    document = {"Name": "a", "IMAGE": "b", "script": "c", "Environment": {"VARIABLES": {"X": "1"}}}
    assert parse_service(document, strict=False).environment.variables == {"X": "1"}
    with pytest.raises(FdlError):
        parse_service(document)


def test_unknown_fields_are_kept_where_they_stood_when_lenient() -> None:
    unknown = {"deep": [1, {"x": None}]}
    document = minimal(
        brand_new=unknown,
        expose={"api_port": 80, "brand_new": 1},
        input=[place("bucket/a"), place("bucket/b", brand_new="y")],
        storage_providers={"s3": {"a": {"access_key": "x", "secret_key": "y", "brand_new": 2}}},
    )
    service = parse_service(document, strict=False)
    written = to_document(service)
    assert written["brand_new"] == unknown
    assert written["expose"]["brand_new"] == 1
    assert written["input"][1]["brand_new"] == "y"
    assert written["storage_providers"]["s3"]["a"]["brand_new"] == 2
    assert from_document(json.loads(json.dumps(written))) == service
    assert parse_service(written, strict=False) == service


def test_lenient_still_refuses_what_cannot_work() -> None:
    with pytest.raises(FdlError) as caught:
        parse_service(minimal(memory="much", name="A_b", input=[place("../x")]), strict=False)
    assert [p.path for p in caught.value.problems] == ["service.name", "service.memory", "service.input[0].path"]


def test_an_answer_of_an_old_server_can_be_sent_back() -> None:
    shown = {
        "endpoint": "http://minio:9000",
        "verify": True,
        "access_key": "hidden",
        "secret_key": "hidden",
        "region": "r",
    }
    document = minimal(
        storage_providers={"minio": {"default": shown}},
        labels={"oscar_service": "grayify", "team": "blue"},
        deployment={"state": "ready"},
    )
    service = parse_service(document, strict=False)
    assert (service.storage_providers, service.labels, service.extra) == ({}, {"team": "blue"}, {})


def test_json_is_in_the_order_of_the_go_structs() -> None:
    text = json.dumps(to_document(parse_service(full())), separators=(",", ":"))
    assert f'"token":"{TOKEN}","file_stage_in":true,' in text
    assert '"cpu":"1500m","total_memory":"10Gi"' in text
    assert text.startswith('{"name":"full-service","cluster_id":"oscar-eu","memory":"1Gi",')
    mount = parse_service(minimal(mount=place("models/v1")))
    assert '"mount":{"storage_provider":"minio.default","path":"models/v1"}' in json.dumps(
        to_document(mount), separators=(",", ":")
    )


def test_what_go_clients_of_older_versions_could_not_decode_is_left_out() -> None:
    document = to_document(parse_service(minimal()))
    assert "api_port" not in document["expose"]
    assert "nodePort" not in document["expose"]
    assert not {"mount", "volume", "kserve", "federation", "namespace"} & document.keys()


def test_defaults_are_shown() -> None:
    document = to_document(parse_service(minimal()))
    assert (document["memory"], document["cpu"], document["log_level"]) == ("256Mi", "0.2", "INFO")
    assert document["retry"] == {"attempts": 1, "backoff": 10.0, "backoff_max": 600.0, "infrastructure": 5}
    assert (document["timeout"], document["concurrency"], document["filter"], document["callback"]) == (0, 0, "", "")


def test_short_forms_of_our_additions() -> None:
    service = parse_service(minimal(retry=3, timeout="1h30m", input=[place("bucket/in", suffix=[".jpg"])]))
    assert (service.retry.attempts, service.retry.infrastructure, service.timeout) == (3, 5, 5400)
    assert service.input[0].existing == "ignore"


def test_values_of_variables_are_taken_as_written_in_yaml() -> None:
    service = parse_service(minimal(environment={"variables": {"N": 5, "F": 0.5, "B": True, "S": "x"}}))
    assert service.environment.variables == {"N": "5", "F": "0.5", "B": "true", "S": "x"}


def test_a_file_keeps_the_fields_of_every_service() -> None:
    service = parse_fdl(file_of(full())).services[0]
    assert service == parse_service(full())
