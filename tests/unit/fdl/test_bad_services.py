# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a service: place, value and hint of every sort of mistake."""

from __future__ import annotations

from typing import Any

import pytest
from parts.fdl_cases import full, minimal, place

from oscar_fedcloud.fdl import FdlError, FdlProblem, Service, make_problem, parse_service

S3 = {"access_key": "AKIA", "secret_key": "xyz", "region": "eu"}
KSERVE = {"type": "inference", "storage_uri": "gs://b/m", "inference": {"model_format": "onnx"}}
REPLICA = {"type": "oscar", "cluster_id": "us", "service_name": "grayify"}

# fields of the service, place below it, value shown, part of the hint
CASES: list[tuple[dict[str, Any], str, Any, str]] = [
    # names of fields
    ({"memroy": "1Gi"}, "memroy", "1Gi", "did you mean memory?"),
    ({"Memory": "1Gi"}, "Memory", "1Gi", "did you mean memory?"),
    ({"enviroment": {"variables": {}}}, "enviroment", "a mapping", "did you mean environment?"),
    ({"zzz": 1}, "zzz", 1, "see the fields of Service"),
    ({"api_key": "abc"}, "api_key", "hidden", "see the fields of Service"),
    ({"tokn": "abc"}, "tokn", "hidden", "did you mean token?"),
    ({"input": [place("a-bucket/in", sufix=[".jpg"])]}, "input[0].sufix", "a list", "did you mean suffix?"),
    ({"input": [place("a-bucket/in", foo=1)]}, "input[0].foo", 1, "known here are storage_provider, path, suffix"),
    ({"output": [place("a-bucket/out", existing="process")]}, "output[0].existing", "process", "known here are"),
    ({"retry": {"attemps": 3}}, "retry.attemps", 3, "did you mean attempts?"),
    ({"expose": {"nodeport": 30000}}, "expose.nodeport", 30000, "did you mean nodePort?"),
    ({"storage_providers": {"gcs": {"x": {}}}}, "storage_providers.gcs", "hidden", "known here are s3, minio"),
    ({5: "x"}, "5", "hidden", "put names in quotes"),
    ({None: "x"}, "None", "hidden", "put names in quotes"),
    # missing
    ({"name": ""}, "name", None, "give a service name"),
    ({"image": ""}, "image", None, "give an image reference"),
    ({"script": ""}, "script", None, "give text"),
    ({"script": " \n\t\n"}, "script", None, "give a shell script"),
    ({"input": [{"path": "a-bucket/in"}]}, "input[0].storage_provider", None, "give a storage provider"),
    ({"input": [{"storage_provider": "minio"}]}, "input[0].path", None, "give a storage path"),
    ({"volume": {"size": "1Gi"}}, "volume.mount_path", None, "give an absolute path"),
    ({"volume": {"mount_path": "/data"}}, "volume.size", None, "give a size, or the name"),
    ({"memory": None}, "memory", None, "give a memory quantity, or leave it out"),
    ({"input": None}, "input", None, "leave it out"),
    # types
    ({"name": 123}, "name", 123, "put it in quotes"),
    ({"alpine": "yes"}, "alpine", "yes", "write true or false, without quotes"),
    ({"alpine": 1}, "alpine", 1, "true or false"),
    ({"concurrency": "4"}, "concurrency", "4", "without quotes"),
    ({"concurrency": True}, "concurrency", True, "give a whole number"),
    ({"concurrency": 2.5}, "concurrency", 2.5, "give a whole number"),
    ({"memory": True}, "memory", True, "give a memory quantity"),
    ({"cpu": [1]}, "cpu", "a list", "give a CPU quantity"),
    ({"input": place("a-bucket/in")}, "input", "a mapping", "give a list"),
    ({"input": ["a-bucket/in"]}, "input[0]", "a-bucket/in", "give a mapping"),
    ({"output": [place("a-bucket/out", suffix=".png")]}, "output[0].suffix", ".png", "write ['.png']"),
    ({"environment": ["A=1"]}, "environment", "hidden", "give a mapping"),
    ({"environment": {"variables": {"A": ["x"]}}}, "environment.variables.A", "a list", "give text"),
    ({"environment": {"variables": {True: "x"}}}, "environment.variables", "True", "put the name in quotes"),
    ({"annotations": {"a": 1}}, "annotations.a", 1, "put it in quotes"),
    ({"labels": {"a": True}}, "labels.a", True, "put it in quotes"),
    ({"retry": "3"}, "retry", "3", "give a mapping"),
    ({"filter": 5}, "filter", 5, "put it in quotes"),
    ({"script": {"a": 1}}, "script", "a mapping", "give text"),
    # service and other names
    ({"name": "Grayify"}, "name", "Grayify", "lower-case"),
    ({"name": "gray_ify"}, "name", "gray_ify", "lower-case"),
    ({"name": "-gray"}, "name", "-gray", "both ends"),
    ({"name": "Gray", "output": [place("out")]}, "name", "Gray", "lower-case"),
    ({"name": "g" * 40}, "name", "g" * 40, "at most 39"),
    ({"image": "my image"}, "image", "my image", "registry.example.org/group/image:tag"),
    ({"token": "short"}, "token", "hidden", "the server makes it"),
    ({"image_pull_secrets": ["My Secret"]}, "image_pull_secrets[0]", "My Secret", "lower-case"),
    ({"interlink_node_name": "Node 1"}, "interlink_node_name", "Node 1", "DNS name"),
    ({"environment": {"variables": {"1A": "x"}}}, "environment.variables.1A", "1A", "not starting with a digit"),
    ({"environment": {"secrets": {"my-key": "x"}}}, "environment.secrets.my-key", "my-key", "underscores"),
    ({"environment": {"variables": {"A": "x\0"}}}, "environment.variables.A", "x\0", "leave it out"),
    ({"environment": {"variables": {"A": "x\ud800"}}}, "environment.variables.A", "x\ud800", "UTF-8"),
    ({"labels": {"a b": "x"}}, 'labels["a b"]', "a b", "Kubernetes name"),
    ({"labels": {"a": "x y"}}, "labels.a", "x y", "at most 63 letters"),
    ({"annotations": {"/x": "y"}}, 'annotations["/x"]', "/x", "Kubernetes name"),
    # amounts
    ({"memory": "2 GB"}, "memory", "2 GB", "did you mean 2G?"),
    ({"memory": "512"}, "memory", "512", "did you mean 512Mi?"),
    ({"memory": 512}, "memory", "512", "did you mean 512Mi?"),
    ({"memory": "512m"}, "memory", "512m", "did you mean 512Mi?"),
    ({"memory": "1gib"}, "memory", "1gib", "did you mean 1Gi?"),
    ({"memory": "lots"}, "memory", "lots", "such as 512Mi or 2G"),
    ({"memory": "-1Gi"}, "memory", "-1Gi", "such as 512Mi or 2G"),
    ({"memory": ""}, "memory", "", "such as 512Mi or 2G"),
    ({"cpu": "two"}, "cpu", "two", "500m"),
    ({"cpu": 0}, "cpu", "0", "500m"),
    ({"cpu": "0,5"}, "cpu", "0,5", "500m"),
    ({"total_cpu": "x"}, "total_cpu", "x", "500m"),
    ({"timeout": "soon"}, "timeout", "soon", "1h30m"),
    ({"timeout": -5}, "timeout", -5, "1h30m"),
    ({"timeout": "0.5s"}, "timeout", "0.5s", "use seconds"),
    ({"timeout": True}, "timeout", True, "1h30m"),
    ({"timeout": 10**5000}, "timeout", "a very large number", "1h30m"),
    ({"memory": 10**5000}, "memory", "a very large number", "give a memory quantity"),
    ({"memory": "9e99"}, "memory", "9e99", "such as 512Mi"),
    ({"concurrency": float("nan")}, "concurrency", "nan", "give a whole number"),
    ({"timeout": 10**10}, "timeout", 10**10, "0 for no limit"),
    ({"concurrency": -1}, "concurrency", -1, "use 0 to"),
    ({"retry": 0}, "retry.attempts", 0, "use 1 to 100"),
    ({"retry": {"infrastructure": -1}}, "retry.infrastructure", -1, "use 0 to"),
    ({"retry": {"backoff": "1h"}}, "retry.backoff", 3600.0, "use at most 600"),
    # storage
    ({"input": [place("a-bucket/in", "minoi.default")]}, "input[0].storage_provider", "minoi.default", "minio.default"),
    ({"input": [place("a-bucket/in", "minio.other")]}, "input[0].storage_provider", "minio.other", "known here are"),
    ({"mount": place("a-bucket/in", "s3")}, "mount.storage_provider", "s3", "known here are minio.default"),
    ({"output": [place("../etc")]}, "output[0].path", "../etc", "bucket/folder"),
    ({"output": [place("a-bucket/x/../y")]}, "output[0].path", "a-bucket/x/../y", "bucket/folder"),
    ({"output": [place("a-bucket//y")]}, "output[0].path", "a-bucket//y", "bucket/folder"),
    ({"output": [place("/")]}, "output[0].path", "/", "bucket/folder"),
    ({"output": [place("a-bucket/\n")]}, "output[0].path", "a-bucket/\n", "bucket/folder"),
    ({"output": [place("My_Bucket/in")]}, "output[0].path", "My_Bucket/in", "3 to 63 lower-case"),
    ({"output": [place("ab/in")]}, "output[0].path", "ab/in", "3 to 63"),
    ({"output": [place("a..b/in")]}, "output[0].path", "a..b/in", "3 to 63"),
    ({"output": [place("10.0.0.1/in")]}, "output[0].path", "10.0.0.1/in", "use a name"),
    ({"output": [place("xn--abc/in")]}, "output[0].path", "xn--abc/in", "3 to 63"),
    ({"name": "ab", "output": [place("out")]}, "output[0].path", "out", "3 to 63"),
    ({"input": [place("a-bucket/in", suffix=["*.jpg"])]}, "input[0].suffix[0]", "*.jpg", "write '.jpg'"),
    ({"input": [place("a-bucket/in", suffix=[""])]}, "input[0].suffix[0]", "", "leave the list out"),
    ({"input": [place("a-bucket/in", existing="maybe")]}, "input[0].existing", "maybe", "one of ignore, process"),
    ({"mount": place("a-bucket/in", options="--x $(id)")}, "mount.options", "--x $(id)", "use only letters"),
    # choices
    ({"log_level": "LOUD"}, "log_level", "LOUD", "one of INFO, NOTSET, DEBUG"),
    ({"visibility": "Private"}, "visibility", "Private", "one of private, restricted, public"),
    ({"isolation_level": "none"}, "isolation_level", "none", "one of SERVICE, USER"),
    ({"federation": {"topology": "ring"}}, "federation.topology", "ring", "one of none, star, mesh"),
    ({"delegation": "manual"}, "delegation", "manual", "one of static, random"),
    # addresses
    ({"callback": "ftp://example.org"}, "callback", "ftp://example.org", "https://host/path"),
    ({"callback": "example.org/done"}, "callback", "example.org/done", "https://host/path"),
    ({"callback": "https://"}, "callback", "https://", "https://host/path"),
    ({"callback": "https://h:99999/"}, "callback", "https://h:99999/", "https://host/path"),
    ({"callback": "https://u:pw@h/"}, "callback", "https://hidden@h/", "signed instead"),
    # groups of fields
    ({"synchronous": {"min_scale": 3, "max_scale": 2}}, "synchronous.min_scale", 3, "use at most 2"),
    ({"expose": {"api_port": 80, "min_scale": 11}}, "expose.min_scale", 11, "use at most 10"),
    ({"expose": {"api_port": 70000}}, "expose.api_port[0]", 70000, "use 1 to 65535"),
    ({"expose": {"api_port": "8080"}}, "expose.api_port[0]", "8080", "without quotes"),
    ({"expose": {"api_port": 80, "nodePort": 80}}, "expose.nodePort[0]", 80, "use 30000 to 32767"),
    ({"expose": {"api_port": [80, 81], "nodePort": 30000}}, "expose.nodePort", "a list", "one for each"),
    ({"expose": {"api_port": 80, "cpu_threshold": 101}}, "expose.cpu_threshold", 101, "use 1 to 100"),
    ({"expose": {"health_path": "x"}}, "expose.health_path", "x", "starts with /"),
    (
        {"environment": {"variables": {"A": "1"}, "secrets": {"A": "2"}}},
        "environment.variables.A",
        "A",
        "give it once",
    ),
    ({"volume": {"name": "v", "mount_path": "data"}}, "volume.mount_path", "data", "absolute path"),
    ({"volume": {"name": "v", "mount_path": "/a/../b"}}, "volume.mount_path", "/a/../b", "without '..'"),
    ({"volume": {"name": "v", "mount_path": "/oscar/bin"}}, "volume.mount_path", "/oscar/bin", "outside /oscar/bin"),
    ({"replicas": [{**REPLICA, "cluster_id": "eu"}]}, "replicas[0].cluster_id", "eu", "declare it"),
    ({"replicas": [{"type": "endpoint"}]}, "replicas[0].url", None, "http or https URL"),
    (
        {"replicas": [{**REPLICA, "priority": -1}], "clusters": {"us": {"endpoint": "https://us"}}},
        "replicas[0].priority",
        -1,
        "use 0 to",
    ),
    ({"kserve": {**KSERVE, "type": "llm"}}, "kserve.type", "llm", "one of inference, llm_inference"),
    ({"kserve": {"type": "inference", "storage_uri": "gs://b/m"}}, "kserve.inference", None, "model_format"),
    ({"kserve": {**KSERVE, "inference": {}}}, "kserve.inference.model_format", None, "give text"),
    ({"kserve": {**KSERVE, "llm_inference": {}}}, "kserve.llm_inference", "a mapping", "leave it out"),
    ({"kserve": {"type": "llm_inference", "storage_uri": "hf://m/x"}}, "kserve.min_scale", 0, "at least 1"),
    ({"kserve": {**KSERVE, "api_version": "v3"}}, "kserve.api_version", "v3", "one of v1, v2"),
    # access
    (
        {"storage_providers": {"s3": {"x": {**S3, "secret_key": ""}}}},
        "storage_providers.s3.x.secret_key",
        None,
        "give text",
    ),
    (
        {"storage_providers": {"s3": {"x": {**S3, "secret_key": 5}}}},
        "storage_providers.s3.x.secret_key",
        "hidden",
        "quotes",
    ),
    ({"storage_providers": {"s3": {"x y": S3}}}, 'storage_providers.s3["x y"]', "x y", "use letters, digits"),
    (
        {"storage_providers": {"s3": {"x": {**S3, "bucket": "b"}}}},
        "storage_providers.s3.x.bucket",
        "hidden",
        "access_key",
    ),
    ({"clusters": {"us": {"auth_user": "me"}}}, "clusters.us.endpoint", None, "http or https URL"),
    ({"clusters": {"us": {"endpoint": "us"}}}, "clusters.us.endpoint", "us", "https://host/path"),
    ({"Variables": {"A": "1"}}, "Variables", "a mapping", "see the fields of Service"),
    ({"environment": {"Variables": {}, "variables": {}}}, "environment.variables", "a mapping", "give one"),
    ({"delegation": "random", "federation": {"delegation": "static"}}, "delegation", "random", "give one"),
]


@pytest.mark.parametrize(("fields", "path", "value", "hint"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)])
def test_one_mistake_is_one_problem(fields: dict[str, Any], path: str, value: Any, hint: str) -> None:
    with pytest.raises(FdlError) as caught:
        parse_service({**minimal(), **fields}, "here")
    (problem,) = caught.value.problems
    assert (problem.path, problem.value) == (f"here.{path}", value)
    assert hint in problem.hint
    assert str(problem) == f"{problem.path}: {problem.message}; {problem.hint}"


def test_all_mistakes_come_at_once() -> None:
    bad = full(
        name="Bad",
        memory="much",
        input=[{"storage_provider": "minio"}, 5, place("../x")],
        retry={"attempts": 0, "tries": 1},
        callback="nowhere",
    )
    with pytest.raises(FdlError) as caught:
        parse_service(bad)
    assert {problem.path for problem in caught.value.problems} == {
        "service.name",
        "service.memory",
        "service.input[0].path",
        "service.input[1]",
        "service.input[2].path",
        "service.retry.attempts",
        "service.retry.tries",
        "service.callback",
    }
    assert str(caught.value).count("\n") == 7


def test_a_document_that_is_no_mapping() -> None:
    with pytest.raises(FdlError, match=r"service: the value is a list, but must be a mapping"):
        parse_service([])  # type: ignore[arg-type]


def test_the_message_names_the_value() -> None:
    with pytest.raises(FdlError, match=r"service\.cpu: 'two' is not a CPU quantity; use cores such as"):
        parse_service(minimal(cpu="two"))


def test_long_values_are_shortened() -> None:
    with pytest.raises(FdlError) as caught:
        parse_service(minimal(cpu="x" * 500))
    assert len(str(caught.value)) < 300


def test_rules_of_the_caller_join_in() -> None:
    def filter_rule(service: Service) -> list[FdlProblem]:
        return [make_problem("filter", service.filter, "is not a JMESPath expression", "see jmespath.org")]

    with pytest.raises(FdlError) as caught:
        parse_service(minimal(filter="[[", cpu="two"), "here", rules=[filter_rule])
    assert [problem.path for problem in caught.value.problems] == ["here.cpu", "here.filter"]
    assert caught.value.problems[1].message == "'[[' is not a JMESPath expression"


def test_other_stores_of_the_server_need_no_declaration() -> None:
    fields = {"input": [place("bucket/in", "s3.site")]}
    with pytest.raises(FdlError):
        parse_service(minimal(**fields))
    service = parse_service(minimal(**fields), providers=["minio.default", "s3.site"])
    assert service.input[0].storage_provider == "s3.site"
