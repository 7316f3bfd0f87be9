# SPDX-License-Identifier: Apache-2.0
"""The script and ``runner.sh`` keep out of each other's way: signals, variables, descriptors, leftovers."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from parts.jobs import SHELLS, Runner, Store, run, service, spec_of
from parts.launching import alive
from parts.rclone_s3 import RcloneS3
from parts.waiting import eventually

PYTHON = (
    "#!/usr/bin/env python3\nimport os, signal, sys, time\nopen(os.environ['TMP_OUTPUT_DIR'] + '/x', 'w').close()\n"
)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    """The store of the single-machine profile."""
    with RcloneS3() as server:
        yield Store(server)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("script", "code"),
    [
        ("trap 'kill 0' EXIT; exit 0", 143),
        ("trap '' TERM; kill 0; exit 4", 4),
        ("kill -9 0; exit 0", 137),
        ("kill -HUP 0; exit 0", 129),
        ("kill $PPID; sleep 0.3; exit 5", 5),
        ("kill $PPID; kill -INT $PPID; sleep 0.3; exit 0", 0),
        ("kill -9 $PPID; sleep 5; exit 0", 137),
        (f"{PYTHON}os.killpg(0, 15)", 143),
        (f"{PYTHON}os.killpg(0, 9)", 137),
        (f"{PYTHON}signal.signal(15, signal.SIG_IGN); os.killpg(os.getpgid(0), 15); sys.exit(6)", 6),
        (f"{PYTHON}os.setpgid(0, 0) if os.getpgid(0) == os.getpid() else os.kill(0, 15); sys.exit(0)", 143),
        ("exec setsid sh -c 'kill 0'", 143),
        ("setsid sh -c 'kill -9 0'; exit 7", 7),
        ("exec 0<&- 1>&- 2>&- 3>&- 9>&-; exit 9", 9),
    ],
)
def test_the_scripts_exit_code_decides_whatever_it_signals(
    store: Store, shell: tuple[str, ...], script: str, code: int
) -> None:
    ended = run(spec_of(store, service(script), store.put("in/signals", b"x"), log_bucket=""), shell)
    phase = "script" if code else "done"
    assert (ended.code, ended.phase, ended.left) == (code, phase, [])


@pytest.mark.parametrize("shell", SHELLS)
def test_a_signal_reaches_the_script_and_its_children(store: Store, shell: tuple[str, ...], tmp_path: Path) -> None:
    script = f"""
        (trap 'touch {tmp_path}/child; exit' TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done) &
        trap 'touch {tmp_path}/script; wait; exit 0' TERM
        while :; do sleep 0.1; done
    """
    runner = Runner(spec_of(store, service(script), store.put("in/told", b"x")), shell)
    eventually((tmp_path / "ready").exists)
    runner.process.send_signal(signal.SIGTERM)
    assert runner.wait(20).phase == "stopped"
    assert (tmp_path / "script").exists()
    assert (tmp_path / "child").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_what_the_script_leaves_running_in_its_group_is_ended_before_outputs_are_stored(
    store: Store, shell: tuple[str, ...], tmp_path: Path
) -> None:
    script = f"""
        sh -c 'echo $$ >{tmp_path}/pid; while :; do echo more >>"$TMP_OUTPUT_DIR/grows"; done' &
        while [ ! -s {tmp_path}/pid ]; do sleep 0.05; done
    """
    assert run(spec_of(store, service(script), store.put("in/leaves", b"x"), log_bucket=""), shell).code == 0
    assert not alive((tmp_path / "pid").read_text())


@pytest.mark.parametrize("shell", SHELLS)
def test_any_variable_acts_on_the_script_alone(store: Store, shell: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "env.sh").write_text(f"touch {tmp_path}/sourced\n")
    (tmp_path / "bin").mkdir()
    for tool in ("rclone", "mktemp", "sed", "env", "head", "rm", "tr", "wc", "setsid"):
        (tmp_path / "bin" / tool).write_text(f"#!/bin/sh\necho {tool} >>{tmp_path}/called\nexit 1\n")
        (tmp_path / "bin" / tool).chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
        "HOME": "/no/home",
        "TMPDIR": "/no/tmp",
        "IFS": "x",
        "ENV": f"{tmp_path}/env.sh",
        "BASH_ENV": f"{tmp_path}/env.sh",
        "POSIXLY_CORRECT": "1",
        "SHELLOPTS": "xtrace",
        "PS4": "$(touch /tmp/never)",
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "ALL_PROXY": "socks5://127.0.0.1:9",
        "LD_PRELOAD": "/no/such/library.so",
        "LD_LIBRARY_PATH": "/no/such/folder",
        "SSL_CERT_FILE": "/dev/null",
        "GODEBUG": "x",
        "GOMEMLIMIT": "1",
        "RCLONE_DRY_RUN": "true",
        "RCLONE_CONFIG": "/no/config",
        "AWS_ACCESS_KEY_ID": "other",
        "LC_ALL": "tr_TR.UTF-8",
        "LANG": "x",
        "UID": "7",
        "EUID": "8",
        "PPID": "9",
        "OPTIND": "words",
        "RANDOM": "r",
        "LINENO": "l",
        "PWD": "/elsewhere",
        "o_root": "/",
        "o_code": "9",
        "o_name": "n",
        "o_special": "s",
        "CDPATH": "/",
        "DASH": 'two\nlines "$(id)" \\ `id` \'',
    }
    script = "#!/usr/bin/env python3\nimport json, os, sys\n"
    script += "json.dump(dict(os.environ), open(os.environ['TMP_OUTPUT_DIR'] + '/environment.json', 'w'))\n"
    of = service(script, environment={"variables": variables})
    ended = run(spec_of(store, of, store.put("in/variables", b"x")), shell)
    assert ended.code == 0, ended
    seen = json.loads(store.read("out/environment.json"))
    assert {name: seen.get(name) for name in variables} == variables
    assert not (tmp_path / "sourced").exists()
    assert not (tmp_path / "called").exists()
    assert [name for name in seen if name.startswith("OSCAR_")] == [
        name for name in seen if name in ("OSCAR_JOB", "OSCAR_ATTEMPT", "OSCAR_SERVICE_NAME", "OSCAR_SERVICE_TOKEN")
    ]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_has_no_descriptor_of_the_runner(store: Store, shell: tuple[str, ...]) -> None:
    of = service("#!/usr/bin/env python3\nimport os\nprint('open', sorted(map(int, os.listdir('/proc/self/fd'))))")
    ended = run(spec_of(store, of, store.put("in/descriptors", b"x")), shell)
    assert re.search(r"open \[0, 1, 2, 3\]", ended.output)  # the last one is that of the folder itself


@pytest.mark.parametrize("shell", SHELLS)
def test_files_of_the_runner_may_vanish(store: Store, shell: tuple[str, ...]) -> None:
    script = """
        echo result >"$TMP_OUTPUT_DIR/vanish"
        rm -rf "$(dirname "$TMP_OUTPUT_DIR").runner" "$TMP_INPUT_DIR"
        chmod 0 "$TMP_OUTPUT_DIR" "$(dirname "$TMP_OUTPUT_DIR")"
    """
    job = spec_of(store, service(script), store.put("in/vanish", b"x"))
    ended = run(job, shell)
    assert (ended.code, ended.left) == (0, [])
    assert store.read("out/vanish") == b"result\n"
    assert b"oscar: done" in store.read(f"step/{job.job}.log", "logs")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("instead", ["mkfifo", "mkdir", "ln -s /dev/null"])
def test_something_in_place_of_the_result(store: Store, shell: tuple[str, ...], instead: str) -> None:
    script = f'R="$(dirname "$TMPDIR")/result"; rm -f "$R"; {instead} "$R"; exit 3'
    runner = Runner(spec_of(store, service(script), store.put("in/instead", b"x"), log_bucket=""), shell)
    assert runner.wait(30).phase == "script"


def test_a_signal_before_the_script_begins(store: Store) -> None:
    for pause in (0.0, 0.02, 0.05, 0.1, 0.2):
        runner = Runner(spec_of(store, service("sleep 60"), store.put("in/early", b"x"), log_bucket=""))
        time.sleep(pause)
        runner.process.send_signal(signal.SIGTERM)
        runner.process.wait(20)
