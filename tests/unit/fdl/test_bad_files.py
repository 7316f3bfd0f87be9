# SPDX-License-Identifier: Apache-2.0
"""Whole files: their places, scripts, shared access, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from parts.fdl_cases import file_of, minimal, place

from oscar_fedcloud.fdl import FdlError, parse_fdl, to_document

ARCHIVE = {"access_key": "AKIA", "secret_key": "xyz"}

CASES: list[tuple[Any, str, Any, str]] = [
    ([], "document", "a list", "give functions"),
    (None, "document", None, "give functions"),
    ({}, "functions.oscar", None, "give a list of services"),
    ({"functions": {}}, "functions.oscar", None, "give a list of services"),
    ({"functions": None}, "functions", None, "leave it out"),
    ({"functions": []}, "functions", "hidden", "give a mapping"),
    ({"functions": {"oscar": {"c": minimal()}}}, "functions.oscar", "hidden", "give a list"),
    ({"functions": {"oscar": [minimal()]}}, "functions.oscar[0]", "a mapping", "write '- <cluster id>:'"),
    ({"functions": {"oscar": ["x"]}}, "functions.oscar[0]", "hidden", "give a mapping"),
    ({"functions": {"oscar": [{"c": None}]}}, "functions.oscar[0].c", None, "give a mapping"),
    ({"functions": {"oscar": [{"c": minimal(), "d": 5}]}}, "functions.oscar[0].d", "hidden", "give a mapping"),
    ({"functions": {"kubernetes": [], "oscar": [{"c": minimal()}]}}, "functions.kubernetes", "a list", "oscar, aws"),
    ({"functions": {"aws": [{"name": "f"}]}}, "functions.aws[0]", "a mapping", "give lambda.name"),
    ({"functions": {"aws": ["f"]}}, "functions.aws[0]", "hidden", "mapping with lambda"),
    (file_of(minimal(), services=[]), "services", "a list", "known here are functions, storage_providers"),
    (file_of(minimal(), storage_provider={}), "storage_provider", "a mapping", "did you mean storage_providers?"),
    (file_of(minimal(memory="2GB")), "functions.oscar[0].oscar-eu.memory", "2GB", "did you mean 2G?"),
    (file_of(minimal(), minimal()), "functions.oscar[1].oscar-eu.name", "grayify", "a name of its own"),
    (
        {"functions": {"oscar": [{"my cluster": minimal(cpu="x")}]}},
        'functions.oscar[0]["my cluster"].cpu',
        "x",
        "500m",
    ),
    (
        file_of(minimal(output=[place("b/o", "s3.arcive")]), storage_providers={"s3": {"archive": ARCHIVE}}),
        "functions.oscar[0].oscar-eu.output[0].storage_provider",
        "s3.arcive",
        "did you mean s3.archive?",
    ),
    (
        file_of(minimal(), storage_providers={"s3": {"archive": {"access_key": "AKIA"}}}),
        "storage_providers.s3.archive.secret_key",
        None,
        "give text",
    ),
    (
        file_of(
            minimal(replicas=[{"cluster_id": "us", "service_name": "x"}]), clusters={"eu": {"endpoint": "https://eu"}}
        ),
        "functions.oscar[0].oscar-eu.replicas[0].cluster_id",
        "us",
        "known here are eu",
    ),
    (file_of(minimal(), clusters={"eu": {}}), "clusters.eu.endpoint", None, "http or https URL"),
]


@pytest.mark.parametrize(("data", "path", "value", "hint"), CASES, ids=[f"{c[1]}-{i}" for i, c in enumerate(CASES)])
def test_one_mistake_is_one_problem(data: Any, path: str, value: Any, hint: str) -> None:
    with pytest.raises(FdlError) as caught:
        parse_fdl(data)
    (problem,) = [p for p in caught.value.problems if p.path != "functions.oscar[0].oscar-eu.output[0].path"]
    assert (problem.path, problem.value) == (path, value)
    assert hint in problem.hint


def test_all_mistakes_of_a_file_come_at_once() -> None:
    data = file_of(minimal(cpu="x"), minimal(name="B", script=5), minimal(name="c", imag="y"), clusters=[])
    with pytest.raises(FdlError) as caught:
        parse_fdl(data)
    assert sorted(problem.path for problem in caught.value.problems) == [
        "clusters",
        "functions.oscar[0].oscar-eu.cpu",
        "functions.oscar[1].oscar-eu.name",
        "functions.oscar[1].oscar-eu.script",
        "functions.oscar[2].oscar-eu.imag",
    ]


def test_several_services_and_clusters() -> None:
    data = {
        "functions": {"oscar": [{"eu": minimal(), "us": minimal(name="b")}, {"eu": minimal(name="c", cluster_id="x")}]}
    }
    services = parse_fdl(data).services
    assert [(service.name, service.cluster_id) for service in services] == [("grayify", "eu"), ("b", "us"), ("c", "x")]


def reader(folder: Path) -> Any:
    return lambda name: (folder / name).read_bytes().decode("utf-8")


def test_script_is_a_path_relative_or_absolute_or_its_lines(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.sh").write_bytes(b"\xef\xbb\xbfecho a\r\necho b\r\n")
    data = file_of(
        minimal(name="one", script="sub/a.sh"),
        minimal(name="two", script=str(tmp_path / "sub" / "a.sh")),
        minimal(name="three", script="echo a\r\necho b\r\n"),
    )
    assert {service.script for service in parse_fdl(data, reader(tmp_path)).services} == {"echo a\necho b\n"}


def test_without_a_reader_the_script_is_content() -> None:
    assert parse_fdl(file_of(minimal(script="sub/a.sh"))).services[0].script == "sub/a.sh"


def test_scripts_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.sh").write_bytes(b"echo \xff")
    (tmp_path / "empty.sh").write_bytes(b"")
    names = ["missing.sh", "bad.sh", ".", "empty.sh"]
    data = file_of(*(minimal(name=f"s{i}", script=name) for i, name in enumerate(names)))
    with pytest.raises(FdlError) as caught:
        parse_fdl(data, reader(tmp_path))
    assert [(p.path, p.value, p.message) for p in caught.value.problems] == [
        ("functions.oscar[0].oscar-eu.script", "missing.sh", "'missing.sh' is not there"),
        ("functions.oscar[1].oscar-eu.script", "bad.sh", "'bad.sh' is not text in UTF-8"),
        ("functions.oscar[2].oscar-eu.script", ".", "'.' cannot be read (Is a directory)"),
        ("functions.oscar[3].oscar-eu.script", None, "script is required"),
    ]


def test_shared_access_goes_only_to_the_services_that_name_it() -> None:
    data = file_of(
        minimal(name="one", output=[place("bucket/out", "s3.archive")]),
        minimal(name="two", replicas=[{"cluster_id": "us", "service_name": "two"}]),
        storage_providers={"s3": {"archive": ARCHIVE, "spare": ARCHIVE}},
        clusters={"us": {"endpoint": "https://us"}, "eu": {"endpoint": "https://eu"}},
    )
    fdl = parse_fdl(data)
    one, two = fdl.services
    assert {kind: list(group) for kind, group in one.storage_providers.items()} == {"s3": ["archive"]}
    assert (two.storage_providers, list(two.clusters), one.clusters) == ({}, ["us"], {})
    assert "storage_providers.s3.spare has no effect: no service names it" in fdl.warnings
    assert "clusters.eu has no effect: no service names it" in fdl.warnings


def test_access_of_a_service_wins_over_the_shared() -> None:
    own = {**ARCHIVE, "region": "own"}
    service = minimal(output=[place("bucket/out", "s3.archive")], storage_providers={"s3": {"archive": own}})
    fdl = parse_fdl(file_of(service, storage_providers={"s3": {"archive": ARCHIVE}}))
    assert fdl.services[0].storage_providers["s3"]["archive"]["region"] == "own"


def test_what_has_no_effect_is_named() -> None:
    service = minimal(
        enable_sgx=True,
        log_level="debug",
        environment={"variables": {"EVENT": "x", "OSCAR_X": "y", "FINE": "z"}},
        storage_providers={"minio": {"default": {"endpoint": "http://else:9000"}}},
    )
    assert parse_fdl(file_of(service)).warnings == (
        "functions.oscar[0].oscar-eu.enable_sgx has no effect on this server",
        "functions.oscar[0].oscar-eu.log_level has no effect on this server",
        "functions.oscar[0].oscar-eu.storage_providers.minio.default has no effect: it is the server's own store",
        "functions.oscar[0].oscar-eu.environment.variables.EVENT has no effect: the server sets it for each job",
        "functions.oscar[0].oscar-eu.environment.variables.OSCAR_X has no effect: the server sets it for each job",
    )


def test_a_plain_service_gives_no_warning() -> None:
    service = minimal(
        memory="1Gi", input=[place("bucket/in")], retry=3, timeout="1h", environment={"secrets": {"A": "x"}}
    )
    assert parse_fdl(file_of(service)).warnings == ()


def test_functions_of_scar_are_kept_as_they_are() -> None:
    function = {"lambda": {"name": "f", "memory": 1024, "container": {"image": "x"}}, "iam": {"role": "r"}}
    fdl = parse_fdl({"functions": {"aws": [function]}})
    assert (fdl.services, fdl.aws) == ((), (function,))
    assert fdl.warnings == ("functions.aws[0] (f) is kept, but not deployed by this server",)


def test_the_own_store_cannot_be_redirected() -> None:
    elsewhere = {"endpoint": "http://else:9000", "access_key": "a", "secret_key": "b"}
    service = minimal(input=[place("bucket/in")], storage_providers={"minio": {"default": elsewhere}})
    fdl = parse_fdl(file_of(service, storage_providers={"minio": {"default": elsewhere}}))
    assert to_document(fdl.services[0])["storage_providers"] == {}
