# SPDX-License-Identifier: Apache-2.0
"""``oscar-fedcloud try``: one file through one service, offline, as a server would do it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Bench:
    """A folder for temporary files, one for outputs, one service whose script is given."""

    folder: Path

    def service(self, script: str, **more: object) -> Path:
        (self.folder / "script.sh").write_text(script)
        service = {
            "name": "job",
            "image": "busybox",
            "script": "script.sh",
            "input": [{"storage_provider": "minio", "path": "data/in"}],
            "output": [{"storage_provider": "minio", "path": "data/out"}],
            **more,
        }
        path = self.folder / "fdl.yml"
        path.write_text(yaml.safe_dump({"functions": {"oscar": [{"here": service}]}}))
        return path

    def run(self, fdl: Path, sample: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "oscar_fedcloud.cli.fdl", "try", str(fdl), str(sample), *options]
        environment = {"TMPDIR": str(self.temporary), "PATH": "/usr/bin:/bin", "SECRET_OF_THE_USER": "s3cr3t"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def sample(self, name: str = "sample.txt") -> Path:
        path = self.folder / name
        path.write_text("hello")
        return path

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def outputs(self) -> dict[str, str]:
        files = (self.folder / "outputs").rglob("*")
        return {str(file.relative_to(self.folder / "outputs")): file.read_text() for file in files if file.is_file()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "tmp").mkdir()
    return Bench(tmp_path)


def test_an_example_gives_what_its_readme_promises_and_leaves_nothing_else(bench: Bench) -> None:
    folder = EXAMPLES / "text-stats"
    run = bench.run(folder / "fdl.yml", folder / "gettysburg.txt", "--output", str(bench.folder / "outputs"))
    assert run.returncode == 0, run.stderr
    assert list(bench.outputs) == ["text-stats/out/gettysburg.stats"]
    assert bench.outputs["text-stats/out/gettysburg.stats"] in (folder / "README.md").read_text()
    assert f"output: {bench.folder}/outputs/text-stats/out/gettysburg.stats\n" in run.stdout
    assert list(bench.temporary.iterdir()) == []


def test_the_exit_code_is_the_script_s_and_a_failed_script_leaves_no_output(bench: Bench) -> None:
    fdl = bench.service('#!/bin/sh\necho some words; echo x > "$TMP_OUTPUT_DIR/x"; exit 7\n')
    run = bench.run(fdl, bench.sample(), "--output", str(bench.folder / "outputs"))
    assert run.returncode == 7
    assert "some words" in run.stdout
    assert "exit code 7" in run.stderr
    assert bench.outputs == {}


def test_output_rules_and_sub_folders_are_those_of_a_server(bench: Bench) -> None:
    script = '#!/bin/sh\nmkdir "$TMP_OUTPUT_DIR/sub"\ncd "$TMP_OUTPUT_DIR"\ncp "$INPUT_FILE_PATH" a.yes\n' + (
        'cp "$INPUT_FILE_PATH" sub/b.yes\ncp "$INPUT_FILE_PATH" c.no\n'
    )
    output = [{"storage_provider": "s3.elsewhere", "path": "other/place", "suffix": [".yes"]}]
    providers = {"s3": {"elsewhere": {"access_key": "a", "secret_key": "b", "region": "eu-west-1"}}}
    fdl = bench.service(script, output=output, storage_providers=providers)
    run = bench.run(fdl, bench.sample(), "--output", str(bench.folder / "outputs"))
    assert run.returncode == 0, run.stderr
    assert bench.outputs == {"other/place/a.yes": "hello", "other/place/sub/b.yes": "hello"}


def test_the_script_sees_the_contract_s_variables_and_no_key(bench: Bench) -> None:
    fdl = bench.service('#!/bin/sh\nenv > "$TMP_OUTPUT_DIR/env"\n', environment={"variables": {"MODE": "fast"}})
    run = bench.run(fdl, bench.sample("odd name$(id).txt"), "--output", str(bench.folder / "outputs"))
    assert run.returncode == 0, run.stderr
    lines = bench.outputs["data/out/env"].splitlines()
    assert {"MODE=fast", "STORAGE_OBJECT_KEY=in/odd name$(id).txt", "OSCAR_SERVICE_NAME=job"} <= set(lines)
    assert any(line.startswith("INPUT_FILE_PATH=") and line.endswith("/odd name$(id).txt") for line in lines)
    assert not [line for line in lines if line.startswith(("RCLONE_", "SECRET_OF_THE_USER"))]


def test_a_service_without_input_gets_the_file_as_a_body(bench: Bench) -> None:
    fdl = bench.service('#!/bin/sh\ncp "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/copy"\n', input=[])
    run = bench.run(fdl, bench.sample(), "--output", str(bench.folder / "outputs"))
    assert run.returncode == 0, run.stderr
    assert bench.outputs == {"data/out/copy": "hello"}


def test_a_file_that_would_not_start_the_service_is_refused_with_the_reason(bench: Bench) -> None:
    source = [{"storage_provider": "minio", "path": "data/in", "suffix": [".jpg"]}]
    run = bench.run(bench.service("#!/bin/sh\n", input=source), bench.sample())
    assert run.returncode == 1
    assert "data/in/sample.txt would not start the service" in run.stderr
    assert "suffix" in run.stderr
    assert list(bench.temporary.iterdir()) == []


def test_keep_leaves_the_store_and_the_job_s_folder(bench: Bench) -> None:
    run = bench.run(bench.service("#!/bin/sh\necho hi\n"), bench.sample(), "--keep")
    assert run.returncode == 0, run.stderr
    (work,) = bench.temporary.iterdir()
    assert f"The store and the job's folder: {work}" in run.stdout
    assert (work / "store" / "data" / "in" / "sample.txt").read_text() == "hello"
    assert len(list((work / "jobs").iterdir())) == 1
