# SPDX-License-Identifier: Apache-2.0
"""``oscar-fedcloud validate`` and ``schema``, and what ``try`` refuses."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from parts.fdl_texts import BAD as BAD_TEXTS
from parts.fdl_texts import GOOD as GOOD_TEXTS
from parts.fdl_texts import Bad, Good, text_of

from oscar_fedcloud.cli.checking import check, documents
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
    assert main(["validate", "--output", "json", str(fdl)]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["valid"] is False
    (problem,) = verdict["problems"]
    assert (problem["path"], problem["value"]) == ("functions.oscar[0].here.memory", "1 cup")
    assert (problem["file"], problem["line"], problem["column"]) == (str(fdl), 7, 9)
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
    assert out.startswith(f"{fdl}:9:9: warning: functions.oscar[0].here.output files may go round for ever")
    assert out.endswith("OK (copy)\n")


def test_a_filter_that_is_no_jmespath_is_a_problem(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(fdl, "image: busybox", 'image: busybox\n        filter: "a..b"')
    assert main(["validate", str(fdl)]) == 1
    assert "functions.oscar[0].here.filter" in capsys.readouterr().out


def test_a_field_without_effect_is_a_warning(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(fdl, "image: busybox", "image: busybox\n        enable_sgx: true")
    assert main(["validate", str(fdl)]) == 0
    assert f"{fdl}:7:9: warning: functions.oscar[0].here.enable_sgx has no effect" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"[" * 100_000, b"", b"\0"])
def test_what_is_no_yaml_file_is_a_problem_with_its_position(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "fdl.yml"
    path.write_bytes(content)
    assert main(["validate", str(path)]) == 1
    assert re.match(rf"{path}:1:\d+: document: ", capsys.readouterr().out)


def test_what_cannot_be_read_is_one_sentence_and_another_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    for path, reason in (
        (tmp_path / "nothing.yml", "cannot be read: No such file or directory"),
        (tmp_path / "pipe", "cannot be read: it is a named pipe"),
        (Path("/dev/zero"), "cannot be read: it is a device"),
        (Path("a\0b"), "cannot be read: the path is not valid"),
        (tmp_path / "empty", "holds no FDL file; name its FDL files fdl.yml or NAME.fdl.yml"),
    ):
        assert main(["validate", str(path)]) == 2
        told = capsys.readouterr()
        assert (told.out, told.err.count("\n")) == ("", 1)
        assert f"{path} {reason}" in told.err


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("missing.sh", "'missing.sh' is not there"),
        ("pipe", "'pipe' cannot be read (it is a named pipe)"),
        ("/dev/zero", "'/dev/zero' cannot be read (it is a device)"),
        (".", "'.' cannot be read (it is a folder)"),
        ("latin.sh", "'latin.sh' is not text in UTF-8"),
        ('"a\\0b"', "cannot be read (the path is not valid"),
        ("large.sh", "cannot be read (it is larger than"),
    ],
)
def test_a_script_that_cannot_be_read_has_the_position_of_its_field(
    fdl: Path, script: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(fdl.parent / "pipe")
    (fdl.parent / "latin.sh").write_bytes(b"echo \xe9")
    with (fdl.parent / "large.sh").open("wb") as large:
        large.truncate(10**9)
    edit(fdl, "script.sh", script)
    assert main(["validate", str(fdl)]) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if "warning: " not in line]
    assert found[0].startswith(f"{fdl}:7:9: functions.oscar[0].here.script: ")
    assert reason in found[0]


def test_a_script_outside_the_folder_is_a_warning(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outside = fdl.parent / "outside"
    outside.mkdir()
    (fdl.parent / "inner").mkdir()
    moved = fdl.rename(fdl.parent / "inner" / "fdl.yml")
    (moved.parent / "link.sh").symlink_to(fdl.parent / "script.sh")
    before = "script.sh"
    for script in ("../script.sh", str(fdl.parent / "script.sh"), "link.sh", "../inner/../script.sh"):
        edit(moved, f"script: {before}", f"script: {script}")
        before = script
        assert main(["validate", str(moved)]) == 0
        out = capsys.readouterr().out
        assert f"{moved}:7:9: warning: functions.oscar[0].here.script lies outside the folder of the FDL file" in out
    (moved.parent / "inside.sh").write_text("x")
    edit(moved, f"script: {before}", "script: ../inner/inside.sh")
    main(["validate", str(moved)])
    assert "warning" not in capsys.readouterr().out


def test_a_folder_is_checked_with_all_that_lies_below_it(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fdl.parent / "services"
    for number, text in enumerate((GOOD, GOOD.replace("name: copy", "name: Copy"), "a: [", GOOD)):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "script.sh").write_text("#!/bin/sh\n")
        (folder / str(number) / ("fdl.yml" if number else "my.fdl.yaml")).write_text(text)
    os.mkfifo(folder / "fdl.yml")
    (folder / "notes.yml").write_text("no: [")
    assert main(["validate", str(folder)]) == 1
    out = capsys.readouterr().out.splitlines()
    assert f"{folder}/0/my.fdl.yaml: OK (copy)" in out
    assert any(line.startswith(f"{folder}/1/fdl.yml:5:9: functions.oscar[0].here.name: 'Copy' is not") for line in out)
    assert any(line.startswith(f"{folder}/2/fdl.yml:1:") for line in out)
    twice = f"{folder}/3/fdl.yml:5:9: functions.oscar[0].here.name: 'copy' is also declared in {folder}/0/my.fdl.yaml"
    assert any(line.startswith(twice) for line in out)
    assert any("it is a named pipe" in line for line in out)


def test_loops_through_several_files_are_found(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    back = GOOD.replace("name: copy", "name: back").replace("copy/in", "x/y").replace("copy/out", "copy/in")
    (fdl.parent / "back.fdl.yml").write_text(back.replace("x/y", "copy/out"))
    assert main(["validate", str(fdl.parent)]) == 1
    assert (
        f"{fdl.parent}/back.fdl.yml:9:9: functions.oscar[0].here.output: files would go round"
        in capsys.readouterr().out
    )


def test_standard_input_is_a_file(
    monkeypatch: pytest.MonkeyPatch, fdl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(fdl.parent)
    for text, code, answer in (
        (GOOD, 0, "<stdin>: OK (copy)\n"),
        (GOOD.replace("image", "imagine"), 1, "<stdin>:6:9: functions.oscar[0].here.imagine: "),
    ):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert main(["validate", "-"]) == code
        assert answer in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["onedata", "webdav", "rucio"])
@pytest.mark.parametrize("group", ["input", "output"])
def test_stores_that_no_server_of_this_version_can_use_are_problems(
    fdl: Path, kind: str, group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    access = {
        "onedata": "{oneprovider_host: h, token: t, space: s}",
        "webdav": "{hostname: h, login: l, password: p}",
        "rucio": "{host: h, auth_host: a, account: c, rse: r, refresh_token: t}",
    }
    folder = {"input": "copy/in", "output": "copy/out"}[group]
    edit(fdl, f"{{storage_provider: minio, path: {folder}}}", f"{{storage_provider: {kind}.x, path: {folder}}}")
    fdl.write_text(f"{fdl.read_text()}storage_providers: {{{kind}: {{x: {access[kind]}}}}}\n")
    assert main(["validate", str(fdl)]) == 1
    place = f"functions.oscar[0].here.{group}[0].storage_provider"
    assert f"{place}: '{kind}.x' is not usable on this server version" in capsys.readouterr().out


def test_a_reference_to_a_variable_is_said_to_be_literal(fdl: Path, capsys: pytest.CaptureFixture[str]) -> None:
    variables = 'environment: {variables: {PATH: "/opt/x/bin:$PATH", A: "${B}", C: "$(D)", E: "5$ $1 $"}}'
    edit(fdl, "image: busybox", f"image: busybox\n        {variables}")
    assert main(["validate", str(fdl)]) == 0
    warnings = [line.partition("variables.")[2] for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert warnings == [
        "PATH is taken as it is written: $PATH in it is not replaced by a value",
        "A is taken as it is written: ${B} in it is not replaced by a value",
        "C is taken as it is written: $(D) in it is not replaced by a value",
    ]


@pytest.mark.parametrize("case", GOOD_TEXTS, ids=lambda case: case.name)
def test_scalars_are_what_is_written(case: Good, tmp_path: Path) -> None:
    (tmp_path / "fdl.yml").write_text(text_of(case.lines))
    verdict = check(tmp_path / "fdl.yml")
    (document,) = documents([verdict])
    assert case.found(document) == case.document


@pytest.mark.parametrize("case", BAD_TEXTS, ids=lambda case: case.name)
def test_each_problem_has_its_position(case: Bad, tmp_path: Path) -> None:
    path = tmp_path / "fdl.yml"
    path.write_text(case.text)
    (problem,) = check(path).problems
    place = (problem.file, problem.path, problem.line, problem.column)
    assert place == (str(path), case.path, case.line, case.column)
    assert case.words in str(problem)


def answering(monkeypatch: pytest.MonkeyPatch, status: int, body: Any) -> list[httpx.Request]:
    """Let the server of --server give this answer; the requests that it gets."""
    asked: list[httpx.Request] = []

    def post(url: str, **options: Any) -> httpx.Response:
        options.pop("timeout")
        auth = options.pop("auth")
        request = httpx.Request("POST", url, **options)
        asked.append(next(auth.auth_flow(request)) if auth else request)
        if isinstance(body, Exception):
            raise body
        return httpx.Response(status, json=body) if not isinstance(body, str) else httpx.Response(status, text=body)

    monkeypatch.setattr(httpx, "post", post)
    return asked


def test_a_server_is_asked_for_its_plan(
    fdl: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OSCAR_PASSWORD", "sesame")
    command = ["validate", "--server", "http://oscar/", str(fdl)]
    warnings = ["services[0].input[0].path is odd", "files may go round"]
    asked = answering(monkeypatch, 200, {"warnings": warnings, "plan": []})
    assert main(command) == 0
    (request,) = asked
    assert request.url == "http://oscar/v2/services:apply?dry_run=true"
    assert request.headers["authorization"].startswith("Basic ")
    assert [one["script"] for one in json.loads(request.content)["services"]] == ["#!/bin/sh\n"]
    out = capsys.readouterr().out
    assert f"{fdl}:8:43: warning: functions.oscar[0].here.input[0].path is odd" in out
    assert "files may go round" in out
    error = {"path": "services[0].output[0].storage_provider", "value": "x", "message": "no store", "hint": "use y"}
    answering(monkeypatch, 422, {"errors": [error]})
    assert main(command) == 1
    expected = f"{fdl}:9:19: functions.oscar[0].here.output[0].storage_provider: no store; use y"
    assert expected in capsys.readouterr().out
    for status, body, reason in (
        (401, {"detail": "valid credentials are needed"}, "(HTTP status 401): valid credentials are needed"),
        (200, "<html>", "does not answer as an invoker does"),
        (0, httpx.ConnectError("refused"), "cannot be reached: refused"),
    ):
        answering(monkeypatch, status, body)
        assert main(command) == 2
        assert reason in capsys.readouterr().err


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
