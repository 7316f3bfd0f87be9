# SPDX-License-Identifier: Apache-2.0
"""All programs under bad circumstances: closed streams, no home, odd encodings, a full device, a reader that left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from parts.daemon import Daemon, eventually
from parts.standalone import PROGRAMS, Person

from oscar_fedcloud import __version__

FDL = """
functions:
  oscar:
    - here: {name: copy, image: busybox, script: script.sh, input: [{storage_provider: minio, path: copy/in}]}
"""

# Commands that need no server, with their exit codes.
COMMANDS = [
    *((program, "--help", 0) for program in PROGRAMS),
    *((program, "--version", 0) for program in PROGRAMS),
    ("oscar", "context", 0),
    ("oscar", "schema", 0),
    ("oscar", "completion bash", 0),
    ("oscar", "validate fdl.yml", 0),
    ("oscar", "get", 2),
    ("oscar", "doctor", 1),
    ("oscar-fedcloud", "schema", 0),
    ("oscar-fedcloud", "validate fdl.yml", 0),
    ("oscar-standalone", "status", 3),
    ("oscar-standalone", "stop", 0),
    ("oscar-invoker", "--config none.yml", 2),
    ("oscar-autoscaler", "validate --config none.yml", 2),
]
NAMES = [f"{program} {arguments}" for program, arguments, _ in COMMANDS]
every_command = pytest.mark.parametrize(("program", "arguments", "code"), COMMANDS, ids=NAMES)


@pytest.fixture
def person(tmp_path: Path) -> Person:
    home = tmp_path / "home"
    home.mkdir()
    (home / "fdl.yml").write_text(FDL)
    (home / "script.sh").write_text("#!/bin/sh\n")
    return Person(home)


def shell(
    person: Person, program: str, arguments: str, how: str, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run the command by a shell, which redirects its streams as ``how`` says."""
    line = ["bash", "-c", f"{sys.executable} -m {PROGRAMS[program]} {arguments} {how}"]
    environ = person.environ(**environment)
    return subprocess.run(line, env=environ, cwd=person.home, capture_output=True, check=False, timeout=60)


@every_command
def test_a_command_ends_as_it_should_and_prints_its_version(
    person: Person, program: str, arguments: str, code: int
) -> None:
    run = shell(person, program, arguments, "</dev/null")
    assert run.returncode == code, run.stderr
    assert b"Traceback" not in run.stderr
    if arguments == "--version":
        assert run.stdout.decode() == f"{program} {__version__}\n"


@every_command
def test_closed_streams_change_no_exit_code(person: Person, program: str, arguments: str, code: int) -> None:
    for how in (">&-", "<&- >&- 2>&-"):
        run = shell(person, program, arguments, how)
        assert run.returncode == code, (how, run.stderr)
        assert b"Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("oscar", "--help"),
        ("oscar", "schema"),
        ("oscar", "completion bash"),
        ("oscar-fedcloud", "validate fdl.yml"),
        ("oscar-standalone", "status"),
    ],
)
def test_a_full_device_is_one_sentence(person: Person, program: str, arguments: str) -> None:
    run = shell(person, program, arguments, "> /dev/full")
    assert run.returncode == 1
    assert run.stderr.decode().count("\n") == 1
    assert b"No space left on device" in run.stderr


@pytest.mark.parametrize(
    ("program", "arguments"), [("oscar", "schema"), ("oscar-fedcloud", "schema"), ("oscar-standalone", "status")]
)
def test_a_reader_that_left_is_no_error_message(person: Person, program: str, arguments: str) -> None:
    assert shell(person, program, arguments, "| true").stderr == b""


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C"}]
)
def test_text_that_the_encoding_lacks_is_escaped(person: Person, environment: dict[str, str]) -> None:
    (person.home / "d→ta.yml").write_text(FDL)
    for program in ("oscar", "oscar-fedcloud"):
        run = shell(person, program, "validate d→ta.yml", "", **environment)
        assert run.returncode == 0, run.stderr
        assert b"OK" in run.stdout


def with_output(person: Person, script: str) -> None:
    """Declare a service with an output, and a file for it."""
    (person.home / "fdl.yml").write_text(FDL.replace("}]}", "}], output: [{storage_provider: minio, path: copy/out}]}"))
    (person.home / "script.sh").write_text(script)
    (person.home / "in").write_text("x")


def test_try_survives_an_encoding_without_the_scripts_characters(person: Person, tmp_path: Path) -> None:
    with_output(person, "#!/bin/sh\necho 'a → b'\necho x > \"$TMP_OUTPUT_DIR/x\"\n")
    out = tmp_path / "out"
    run = shell(person, "oscar-fedcloud", f"try fdl.yml in --output {out}", "", PYTHONIOENCODING="latin-1")
    assert run.returncode == 0, run.stderr
    assert (out / "copy" / "out" / "x").read_text() == "x\n"


@pytest.mark.parametrize("program", ["oscar", "oscar-fedcloud"])
def test_an_output_folder_that_cannot_be_made_is_one_sentence(person: Person, program: str) -> None:
    with_output(person, '#!/bin/sh\necho x > "$TMP_OUTPUT_DIR/x"\n')
    run = shell(person, program, "try fdl.yml in --output /proc/x", "")
    assert run.returncode == 1
    assert b"Traceback" not in run.stderr
    assert b"/proc/x" in run.stderr


def test_a_signal_ends_the_invoker_in_order(tmp_path: Path) -> None:
    away = {"type": "s3", "endpoint": "http://127.0.0.1:9", "access_key": "key", "secret_key": "secret"}
    daemon = Daemon(tmp_path / "invoker", providers={"minio.default": away})
    process = daemon.launch()
    try:
        eventually(lambda: '"event": "listening"' in daemon.log_file.read_text(), 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, daemon.log_file.read_text()
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / "invoker" / "data" / "ledger.db").exists()
    assert not (tmp_path / "invoker" / "data" / "ledger.db-wal").exists()  # the ledger was closed


def without_home(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user whom the system does not know, without HOME."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OSCAR_", "XDG_", "HOME"))}
    # Another user could not read a tree below /root, so only the name of the user is taken away.
    program = (
        "import pwd, runpy, sys\n"
        "def none(*_): raise KeyError('unknown uid')\n"
        "pwd.getpwuid = pwd.getpwnam = none\n"
        "module = sys.argv.pop(1)\n"
        "runpy.run_module(module, run_name='__main__', alter_sys=True)\n"
    )
    line = [sys.executable, "-c", program, *command]
    return subprocess.run(line, env=environ, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)


def test_without_a_home_what_needs_none_works_and_the_rest_says_so(tmp_path: Path) -> None:
    status = without_home([PROGRAMS["oscar-standalone"], "status", "--data", str(tmp_path / "data")], tmp_path)
    assert (status.returncode, status.stderr) == (3, "")
    for program, arguments in (("oscar-standalone", ["status"]), ("oscar", ["get"])):
        run = without_home([PROGRAMS[program], *arguments], tmp_path)
        assert run.returncode in (1, 2)
        assert "home directory is unknown" in run.stderr
        assert run.stderr.count("\n") == 1
    for program in PROGRAMS:
        assert without_home([PROGRAMS[program], "--help"], tmp_path).returncode == 0


def test_a_home_that_cannot_be_written_is_one_sentence(person: Person) -> None:
    add = shell(person, "oscar", "context add a http://127.0.0.1:1 --token-stdin", "<<< token", HOME="/proc")
    start = shell(person, "oscar-standalone", "start --port 0 --store-port 0", "", HOME="/proc")
    for run in (add, start):
        assert run.returncode in (1, 2)
        assert b"Traceback" not in run.stderr
        assert b"/proc" in run.stderr


@pytest.mark.parametrize("missing", ["kubernetes_asyncio", "aiohttp", "cronsim", "cryptography"])
def test_help_needs_no_extra_and_a_missing_one_is_named(person: Person, missing: str) -> None:
    block = f"import sys\nsys.modules[{missing!r}] = None\nfrom oscar_fedcloud.cli.autoscaler import main\n"
    (person.home / "c.yml").write_text("{}")
    for arguments in (["--help"], ["machines", "--config", "c.yml"]):
        line = [sys.executable, "-c", f"{block}sys.exit(main({arguments}))"]
        run = subprocess.run(line, env=person.environ(), cwd=person.home, capture_output=True, text=True, check=False)
        assert "Traceback" not in run.stderr
        assert arguments != ["--help"] or run.returncode == 0
        assert run.returncode in (0, 2) or f"{missing} is not installed: pip install" in run.stderr
