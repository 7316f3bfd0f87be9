# SPDX-License-Identifier: Apache-2.0
"""Mistakes in FDL files, as people make them: what stands in the file, and what they must be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

# Fields of a service as YAML, laid over GOOD; the place below it, the value, and a part of the hint.
FIELDS: list[tuple[str, str, Any, str]] = [
    # misspelt and unknown fields
    ("memmory: 1Gi", "memmory", "1Gi", "did you mean memory?"),
    ("CPU: 1", "CPU", 1, "did you mean cpu?"),
    ("inputs: []", "inputs", "a list", "did you mean input?"),
    ("input: [{storage_provider: minio, path: photos/in, suffixes: [.jpg]}]", "input[0].suffixes", "a list", "suffix"),
    (
        "output: [{storage_provider: minio, path: photos/out, existing: process}]",
        "output[0].existing",
        "process",
        "path",
    ),
    ("retry: {attempt: 3}", "retry.attempt", 3, "did you mean attempts?"),
    ("expose: {apiport: 80}", "expose.apiport", 80, "did you mean api_port?"),
    ("restart_policy: always", "restart_policy", "always", "see the fields of Service"),
    # missing
    ("name:", "name", None, "give a service name"),
    ("image: ''", "image", None, "give an image reference"),
    ("script: ''", "script", None, "give text"),
    ("input: [{path: photos/in}]", "input[0].storage_provider", None, "give a storage provider"),
    ("input: [{storage_provider: minio}]", "input[0].path", None, "give a storage path"),
    ("volume: {size: 1Gi}", "volume.mount_path", None, "give an absolute path"),
    # types
    ("image: [debian]", "image", "a list", "give an image reference"),
    ("alpine: 'yes'", "alpine", "yes", "write true or false, without quotes"),
    ("concurrency: '4'", "concurrency", "4", "without quotes"),
    ("concurrency: 1.5", "concurrency", 1.5, "whole number"),
    ("memory: [1Gi]", "memory", "a list", "give a memory quantity"),
    ("input: {storage_provider: minio, path: photos/in}", "input", "a mapping", "give a list"),
    ("input: [photos/in]", "input[0]", "photos/in", "give a mapping"),
    ("output: [{storage_provider: minio, path: photos/out, suffix: .png}]", "output[0].suffix", ".png", "['.png']"),
    ("environment: {variables: {LEVEL: [3]}}", "environment.variables.LEVEL", "a list", "give text"),
    # names
    ("name: Grayify", "name", "Grayify", "lower-case letters"),
    ("name: grayify_2", "name", "grayify_2", "hyphens"),
    ("name: -grayify", "name", "-grayify", "at both ends"),
    (f"name: {'a' * 40}", "name", "a" * 40, "use at most 39"),
    ("image: 'bad image'", "image", "bad image", "registry.example.org/group/image:tag"),
    ("environment: {variables: {1ST: x}}", "environment.variables.1ST", "1ST", "not starting with a digit"),
    ("labels: {team: 'über'}", "labels.team", "über", "letters, digits"),
    ("log_level: verbose", "log_level", "verbose", "DEBUG"),
    ("visibility: everybody", "visibility", "everybody", "private"),
    # quantities
    ("memory: 2 GB", "memory", "2 GB", "did you mean 2G?"),
    ("memory: 512MB", "memory", "512MB", "did you mean 512M?"),
    ("memory: -1Gi", "memory", "-1Gi", "such as 512Mi or 2G"),
    ("memory: 100", "memory", "100", "did you mean 100Mi?"),
    ("cpu: 1 core", "cpu", "1 core", "0.5"),
    ("cpu: -1", "cpu", "-1", "0.5"),
    ("cpu: 0", "cpu", "0", "0.5"),
    ("timeout: 5 minutes", "timeout", "5 minutes", "30s, 5m"),
    ("timeout: -1", "timeout", -1, "30s, 5m"),
    ("concurrency: -2", "concurrency", -2, "0"),
    ("retry: {attempts: 0}", "retry.attempts", 0, "1"),
    ("retry: {backoff: soon}", "retry.backoff", "soon", "30s, 5m"),
    # stores and paths
    ("input: [{storage_provider: gcs, path: photos/in}]", "input[0].storage_provider", "gcs", "minio"),
    (
        "input: [{storage_provider: minio.lab, path: photos/in}]",
        "input[0].storage_provider",
        "minio.lab",
        "minio.default",
    ),
    ("input: [{storage_provider: minio, path: Photos/in}]", "input[0].path", "Photos/in", "lower-case letters"),
    ("input: [{storage_provider: minio, path: ab/in}]", "input[0].path", "ab/in", "3 to 63"),
    ("input: [{storage_provider: minio, path: photos/../in}]", "input[0].path", "photos/../in", "bucket/folder"),
    ("input: [{storage_provider: minio, path: ''}]", "input[0].path", None, "give a storage path"),
    ("volume: {size: 1Gi, mount_path: data}", "volume.mount_path", "data", "absolute path"),
    (
        "storage_providers: {minio: {lab: {endpoint: 'https://x', secret_key: k}}}",
        "storage_providers.minio.lab.access_key",
        None,
        "give",
    ),
    ("storage_providers: {gcs: {lab: {}}}", "storage_providers.gcs", "hidden", "known here are"),
    # further rules
    ("callback: not-a-url", "callback", "not-a-url", "http"),
    ("environment: {variables: {A: x}, secrets: {A: y}}", "environment.variables.A", "A", "give it once"),
    ("synchronous: {min_scale: 3, max_scale: 1}", "synchronous.min_scale", 3, "use at most 1"),
    ("token: short", "token", "hidden", "leave it out"),
    # scripts
    ("script: missing.sh", "script", "missing.sh", "relative to the file"),
    ("script: binary.sh", "script", "binary.sh", "give a shell script"),
    ("script: .", "script", ".", "the path of a readable file"),
]

# Whole files; the place, the value, and a part of the hint.
FILES: list[tuple[str, str, Any, str]] = [
    ("", "document", None, "functions"),
    ("- a\n", "document", "a list", "functions"),
    (
        "service: x\nfunctions: {oscar: [{here: {name: abc, image: x, script: ok.sh}}]}\n",
        "service",
        "x",
        "known here are",
    ),
    ("functions: {}\n", "functions.oscar", None, "list of services"),
    ("functions: {oscar: []}\n", "functions.oscar", None, "list of services"),
    ("functions: {oscar: {here: {}}}\n", "functions.oscar", "hidden", "give a list"),
    (
        "functions:\n  oscar:\n  - name: grayify\n    image: x\n    script: ok.sh\n",
        "functions.oscar[0]",
        "a mapping",
        "cluster id",
    ),
    ("functions: {oscar: [\n", "document", None, ""),
    ("a: !vault x\n", "a", None, ""),
    ("a: \0\n", "document", None, "leave it out"),
]

GOOD = {"name": "grayify", "image": "docker.io/library/debian:12", "script": "ok.sh"}


def write_files(folder: Path) -> list[Path]:
    """One FDL file for each case, in the order of FIELDS and then FILES. The bad service stands behind a good one."""
    folder.mkdir()
    (folder / "ok.sh").write_text("#!/bin/sh\ntrue\n", encoding="utf-8")
    (folder / "binary.sh").write_bytes(b"\x7fELF\xff\xfe\n\0")
    texts = [fdl_text(fields) for fields, *_ in FIELDS] + [text for text, *_ in FILES]
    files = [folder / f"case{number:02}.yml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text, encoding="utf-8")
    return files


def fdl_text(fields: str) -> str:
    """A file whose second service has these fields."""
    bad = {**GOOD, **yaml.safe_load(fields)}
    services = [{"here": {**GOOD, "name": "good"}}, {"here": bad}]
    return yaml.safe_dump({"functions": {"oscar": services}}, allow_unicode=True)


def expectations(folder: Path) -> list[tuple[str, Any, str]]:
    """For each case the whole place, the value and a part of the hint."""
    found = [(f"functions.oscar[1].here.{place}", value, hint) for _, place, value, hint in FIELDS]
    files = write_order(folder)[len(FIELDS) :]
    for file, (_, place, value, hint) in zip(files, FILES, strict=True):
        found.append((place, str(file) if place == "fdl" else value, hint))
    return found


def write_order(folder: Path) -> list[Path]:
    """The files of ``write_files``, which exist."""
    return sorted(folder.glob("case*.yml"))
