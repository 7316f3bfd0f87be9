# SPDX-License-Identifier: Apache-2.0
"""``oscar-fedcloud validate`` and ``schema``, and what ``try`` refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oscar_fedcloud.cli.fdl import main
from oscar_fedcloud.fdl import json_schema

GOOD = """
functions:
  oscar:
    - here:
        name: copy
        image: busybox
        script: script.sh
        input: [{storage_provider: minio, path: copy/in}]
        output: [{storage_provider: minio, path: copy/out}]
"""


@pytest.fixture
def fdl(tmp_path: Path) -> Path:
    (tmp_path / "script.sh").write_text("#!/bin/sh\n")
    path = tmp_path / "fdl.yml"
    path.write_text(GOOD)
    return path


def edit(fdl: Path, old: str, new: str) -> None:
    text = fdl.read_text()
    assert old in text
    fdl.write_text(text.replace(old, new))


def test_a_good_file_is_ok_and_finds_its_script_from_any_folder(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(fdl)]) == 0
    assert capsys.readouterr().out == f"{fdl}: OK (copy)\n"


def test_an_absolute_script_path_is_taken_as_it_is(fdl: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    edit(fdl, "script.sh", str(tmp_path / "script.sh"))
    assert main(["validate", str(fdl.rename(elsewhere / "fdl.yml"))]) == 0


def test_all_problems_are_listed_with_place_value_and_hint(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(fdl, "image: busybox", "image: busybox\n        memry: 1Gi")
    edit(fdl, "script.sh", "missing.sh")
    assert main(["validate", str(fdl)]) == 1
    out = capsys.readouterr().out
    assert "functions.oscar[0].here.memry: memry is not a known field; did you mean memory?" in out
    assert "functions.oscar[0].here.script: 'missing.sh'" in out
    assert f"{fdl}: 2 problems" in out


def test_json_says_the_same(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(fdl, "image: busybox", "image: busybox\n        memory: 1 cup")
    assert main(["validate", "--json", str(fdl)]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["valid"] is False
    assert [(each["path"], each["value"]) for each in verdict["problems"]] == [
        ("functions.oscar[0].here.memory", "1 cup")
    ]
    edit(fdl, "1 cup", "1Gi")
    assert main(["validate", "--json", str(fdl)]) == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "services": ["copy"], "problems": [], "warnings": []}


def test_an_endless_loop_is_a_problem_and_one_that_a_suffix_breaks_is_a_warning(
    fdl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(fdl, "copy/out", "copy/in/out")
    assert main(["validate", str(fdl)]) == 1
    assert "go round for ever" in capsys.readouterr().out
    edit(fdl, "path: copy/in}", "path: copy/in, suffix: [.a]}")
    edit(fdl, "path: copy/in/out}", "path: copy/in/out, suffix: [.b]}")
    assert main(["validate", str(fdl)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("warning: files may go round for ever")
    assert out.endswith("OK (copy)\n")


def test_a_filter_that_is_no_jmespath_is_a_problem(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(fdl, "image: busybox", 'image: busybox\n        filter: "a..b"')
    assert main(["validate", str(fdl)]) == 1
    assert "functions.oscar[0].here.filter" in capsys.readouterr().out


def test_a_field_without_effect_is_a_warning(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(fdl, "image: busybox", "image: busybox\n        enable_sgx: true")
    assert main(["validate", str(fdl)]) == 0
    assert "warning: functions.oscar[0].here.enable_sgx has no effect" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["a: [", b"\xff\xfe\x00", None])
def test_what_is_no_yaml_file_is_one_sentence(
    content: str | bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fdl.yml"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    assert main(["validate", str(path)]) == 1
    assert f"oscar-fedcloud: {path} " in capsys.readouterr().err


def test_schema_is_the_model_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_try_refuses_what_it_cannot_run(fdl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", str(fdl), str(tmp_path / "nothing")]) == 1
    assert "nothing is not a file" in capsys.readouterr().err
    sample = tmp_path / "script.sh"
    assert main(["try", str(fdl), str(sample), "--service", "other"]) == 1
    assert "declares no service 'other', it declares copy" in capsys.readouterr().err
    edit(fdl, "image: busybox", "imagine: busybox")
    assert main(["try", str(fdl), str(sample)]) == 1
    assert "oscar-fedcloud validate" in capsys.readouterr().err
