# SPDX-License-Identifier: Apache-2.0
"""The entry point of ``oscar``: its commands, what it imports, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from oscar_fedcloud import __version__
from oscar_fedcloud.cli.oscar.main import SECTIONS, main, oscar

COMMANDS = [name for section in SECTIONS.values() for name in section]
HEAVY = ("httpx", "rich", "yaml", "minio", "oscar_fedcloud.fdl", "msgspec", "structlog")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_their_help_says(name: str) -> None:
    context = click.Context(oscar)
    command = oscar.get_command(context, name)
    assert command is not None
    assert command.name == name
    text = next(section[name][1] for section in SECTIONS.values() if name in section)
    assert (command.help or "").partition("\n\n")[0].replace("\n", " ").strip() == text


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["put", "--help"], ["jobs", "--help"]])
def test_help_imports_nothing_that_is_slow(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from oscar_fedcloud.cli.oscar.main import main\n"
        f"code = main({arguments})\n"
        f"sys.exit(code or str([name for name in {HEAVY} if name in sys.modules] or ''))\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == ""
    assert run.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"oscar {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["aply"], "did you mean apply?"),
        (["jobs", "--stat", "x"], "--state"),
        (["put", "file"], "Missing argument"),
        (["get", "-o", "csv"], "'csv'"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("oscar: ")
    assert words in captured.err


def test_without_a_server_the_next_step_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("OSCAR_ENDPOINT", "OSCAR_CONTEXT", "OSCAR_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert main(["get"]) == 2
    assert "oscar context add NAME ENDPOINT" in capsys.readouterr().err
