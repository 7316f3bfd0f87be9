# SPDX-License-Identifier: Apache-2.0
"""The examples: each one is valid FDL in every sense, and its script does what its README says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from parts.checkout import assert_grey_copy

from oscar_fedcloud.cli.fdl import check
from oscar_fedcloud.fdl import json_schema

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted(EXAMPLES.glob("*/fdl.yml"))


def run_script(script: Path, sample: Path, folder: Path, path: str = os.defpath) -> subprocess.CompletedProcess[str]:
    """Run a script as a job would, with only what the script contract promises."""
    folder.mkdir(exist_ok=True)
    environment = {"PATH": path, "INPUT_FILE_PATH": str(sample), "TMP_OUTPUT_DIR": str(folder)}
    return subprocess.run(["sh", script], env=environment, capture_output=True, text=True, check=True)


def test_there_are_the_examples_that_the_readme_names() -> None:
    assert [file.parent.name for file in FILES] == ["grayify", "text-stats", "two-steps"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_example_fits_the_json_schema(file: Path) -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    assert [error.message for error in Draft202012Validator(schema).iter_errors(yaml.safe_load(file.read_text()))] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_example_is_valid_without_warnings(file: Path) -> None:
    verdict = check(file)
    assert verdict.fdl is not None
    assert verdict.problems == verdict.warnings == ()


def test_grayify_works_without_imagemagick(tmp_path: Path) -> None:
    photo = EXAMPLES / "grayify" / "grace_hopper.jpg"
    stand_in = tmp_path / "bin"
    stand_in.mkdir()
    for name in ("convert", "magick"):  # other programs of these names must not be taken for ImageMagick
        (stand_in / name).write_text("#!/bin/sh\necho 'convert: not ImageMagick'\n")
        (stand_in / name).chmod(0o755)
    path = os.pathsep.join([str(stand_in), str(Path(sys.executable).parent), os.defpath])
    run = run_script(EXAMPLES / "grayify" / "script.sh", photo, tmp_path / "out", path)
    assert "with Pillow" in run.stdout
    assert_grey_copy(tmp_path / "out" / photo.name, photo)


def test_grayify_uses_imagemagick_where_it_is(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "magick"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\n[ "$1" != -version ] || exec echo "Version: ImageMagick 7.1"\necho "$@" > "$4"\n')
    program.chmod(0o755)
    sample = tmp_path / "my photo.png"
    sample.touch()
    path = f"{program.parent}{os.pathsep}{os.defpath}"
    run_script(EXAMPLES / "grayify" / "script.sh", sample, tmp_path / "out", path)
    output = tmp_path / "out" / "my photo.png"
    assert output.read_text() == f"{sample} -colorspace Gray {output}\n"


def test_text_stats_gives_the_table_of_its_readme(tmp_path: Path) -> None:
    folder = EXAMPLES / "text-stats"
    run_script(folder / "script.sh", folder / "gettysburg.txt", tmp_path)
    table = (tmp_path / "gettysburg.stats").read_text()
    assert table in (folder / "README.md").read_text()


def test_two_steps_give_the_ranks_of_their_readme(tmp_path: Path) -> None:
    folder = EXAMPLES / "two-steps"
    run_script(folder / "split-words.sh", folder / "sonnet.txt", tmp_path / "middle")
    run_script(folder / "rank-words.sh", tmp_path / "middle" / "sonnet.words", tmp_path / "out")
    ranks = (tmp_path / "out" / "sonnet.ranks").read_text().splitlines()
    assert sum(int(line.split("\t")[1]) for line in ranks) == 114
    assert "\n".join(ranks[:3]) in (folder / "README.md").read_text()
