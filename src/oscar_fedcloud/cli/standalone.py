# SPDX-License-Identifier: Apache-2.0
"""``oscar-standalone``: the whole server on one machine, for one user: an embedded store and the invoker, without root.

Jobs run as the user who starts the server, so it is for scripts that this user trusts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from oscar_fedcloud import __version__
from oscar_fedcloud.cli.streams import guard
from oscar_fedcloud.daemon.wishes import wish_for
from oscar_fedcloud.standalone.data_dir import (
    CONTAINER,
    PORT,
    STORE_PORT,
    DataDir,
    ProfileError,
    Settings,
    Wanted,
    default_folder,
    read_json,
    write_private,
)
from oscar_fedcloud.standalone.embedded_store import EmbeddedStoreError
from oscar_fedcloud.standalone.status import describe, is_running, locked, print_status, starting
from oscar_fedcloud.standalone.supervise import Health, SupervisedProcess, Supervisor, rotate

LARGEST = 100_000  # concurrent jobs
STOPPED = 3  # exit code of `status`, as for init scripts
EPILOG = """Everything lies under one data folder: the store's buckets, the invoker's ledger, keys, logs, settings.
To have the server back after a reboot, add the line that `start` prints to `crontab -e`."""


class StandaloneError(Exception):
    """The command cannot be executed; the message gives the reason and the remedy."""


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``oscar-standalone``; returns the exit code."""
    return guard("oscar-standalone", lambda: _main(argv))


def _main(argv: list[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    try:
        data_dir = DataDir(arguments.data or default_folder())
        return int(arguments.command(data_dir, arguments))
    except (ProfileError, EmbeddedStoreError, StandaloneError) as error:
        print(f"oscar-standalone: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="oscar-standalone", description=__doc__, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    parts = {
        "run": (run, "run in the foreground until Ctrl-C or SIGTERM"),
        "start": (start, "start in the background and wait until ready; does nothing when it runs already"),
        "stop": (stop, "stop the server; running jobs continue and are adopted at the next start"),
        "status": (status, f"show where everything is; exit code {STOPPED} when stopped, 1 when not ready"),
    }
    for name, (function, text) in parts.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.set_defaults(command=function)
        command.add_argument("--data", type=Path, help=f"data folder ({_default_data()})")
        if name in ("run", "start"):
            _add_settings(command)
        if name in ("start", "status"):
            command.add_argument("--output", choices=("text", "json"), default="text", help="how it is printed (text)")
            command.add_argument("--json", action="store_true", help="the same as --output json")
        if name in ("start", "stop"):
            command.add_argument("--timeout", type=float, default=60.0, help="longest wait in seconds (%(default)g)")
    return parser


def _default_data() -> str:
    try:
        return str(default_folder())
    except ProfileError:
        return "none, since the home directory is unknown"


def _as_json(arguments: argparse.Namespace) -> bool:
    return bool(arguments.json or arguments.output == "json")


def _add_settings(command: argparse.ArgumentParser) -> None:
    port = "port of the {} (as before, at first {}; 0 = as before, else any free one)"
    command.add_argument("--port", type=_port, metavar="N", help=port.format("server", PORT))
    command.add_argument("--store-port", type=_port, metavar="N", help=port.format("store", STORE_PORT))
    command.add_argument(
        "--container", choices=CONTAINER, help="run jobs in containers (auto: if docker or podman is there)"
    )
    text = "concurrent jobs of all services; 0 means one per processor (default: as before, initially 0)"
    command.add_argument("--max-running", type=_count, metavar="N", help=text)
    text = "if the ledger was lost: begin a new one, for which what is in the inputs now counts as processed"
    command.add_argument("--new-ledger", action="store_true", help=text)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {LARGEST}")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def _wanted(arguments: argparse.Namespace) -> Wanted:
    return Wanted(arguments.port, arguments.store_port, arguments.container, arguments.max_running)


def run(data_dir: DataDir, arguments: argparse.Namespace) -> int:
    """Supervise the store and the invoker in this process."""
    wanted = _wanted(arguments)
    if is_running(data_dir):
        raise StandaloneError(f"a server runs already on {data_dir.folder}")
    _check_engine(data_dir.plan(wanted))
    data_dir.create()
    with locked(data_dir, wait=1.0) as held:
        if not held:
            raise StandaloneError(f"a server runs already on {data_dir.folder}")
        settings = data_dir.prepare(wanted)
        _check_configuration(data_dir)
        _wish(data_dir, arguments)
        print(f"Serving {data_dir.folder} on port {settings.port}; Ctrl-C ends it", file=sys.stderr, flush=True)
        asyncio.run(_supervise(data_dir, settings))
    return 0


async def _supervise(data_dir: DataDir, settings: Settings) -> None:
    stop_asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop_asked.set)
    parts = _parts(data_dir, settings)
    for part in parts:
        rotate(part.log)
    await Supervisor(parts, lambda health: _record(data_dir, health)).run(stop_asked)


def _parts(data_dir: DataDir, settings: Settings) -> tuple[SupervisedProcess, SupervisedProcess]:
    store = data_dir.store(settings)
    invoker = (sys.executable, "-m", "oscar_fedcloud.cli.invoker", "--config", str(data_dir.config_file))
    return (
        SupervisedProcess(
            "store", store.command(), store.environment(), data_dir.log_file("store"), settings.store_port
        ),
        SupervisedProcess("invoker", invoker, os.environ, data_dir.log_file("invoker"), settings.port),
    )


def _record(data_dir: DataDir, health: Mapping[str, Health]) -> None:
    parts = {name: {"pid": part.pid, "restarts": part.restarts} for name, part in health.items()}
    write_private(data_dir.state_file, json.dumps({"pid": os.getpid(), "parts": parts}) + "\n")


def start(data_dir: DataDir, arguments: argparse.Namespace) -> int:
    """Start ``run`` in a new session and wait until the server is ready. Concurrent starts make one server."""
    wanted = _wanted(arguments)
    talk = sys.stderr if _as_json(arguments) else sys.stdout
    with starting(data_dir, arguments.timeout):
        _wish(data_dir, arguments)
        child = None if is_running(data_dir) else _detach(data_dir, wanted)
        if child is None and (known := data_dir.settings()) and not known.agree(wanted):
            raise StandaloneError(f"the server runs with other settings ({known.words()}): stop it first")
        print("The server runs already" if child is None else "Starting the server", end="", file=talk, flush=True)
        _await_ready(data_dir, child, arguments.timeout, talk)
    facts = {"started": child is not None, **describe(data_dir)}
    if _as_json(arguments):
        print_status(facts, True)
    else:
        for line in _told(facts):
            print(line)
    return 0


def _wish(data_dir: DataDir, arguments: argparse.Namespace) -> None:
    if arguments.new_ledger:
        data_dir.create()
        wish_for(data_dir.invoker_folder)


def _told(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the facts about a server that has just started."""
    program = Path(sys.argv[0]).absolute()
    yield f"The API is at {facts['endpoint']}, for user {facts['user']} with the password in {facts['password_file']}."
    yield f"The store is at {facts['store_endpoint']}, and its files are in {facts['store_folder']}."
    add = shlex.join([str(program.with_name("oscar")), "context", "add", "local", *_data(facts)])
    yield f"To use it from a shell: {add}"
    command = shlex.join([str(program), "start", "--data", str(facts["data"])])
    yield f"To have it back after a reboot, add to `crontab -e`:\n  @reboot {command}"


def _data(facts: Mapping[str, Any]) -> Iterator[str]:
    yield "--standalone"
    if Path(facts["data"]) != default_folder().absolute():
        yield str(facts["data"])


def _detach(data_dir: DataDir, wanted: Wanted) -> subprocess.Popen[bytes]:
    """Start ``run`` with these settings. Raises ProfileError, EmbeddedStoreError, StandaloneError."""
    _check_engine(data_dir.plan(wanted))
    data_dir.prepare(wanted)
    _check_configuration(data_dir)
    rotate(data_dir.log_file("supervisor"))
    with data_dir.log_file("supervisor").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", __spec__.name, "run", "--data", str(data_dir.folder)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _check_engine(settings: Settings) -> None:
    """Raise StandaloneError if jobs run in containers and no container engine is available."""
    from oscar_fedcloud.launchers.registry import container_problem

    if settings.container == "require" and (problem := container_problem()):
        raise StandaloneError(f"containers are required (--container require), but {problem}")


def _check_configuration(data_dir: DataDir) -> None:
    """Raise StandaloneError if an edit of the configuration made it unusable."""
    from oscar_fedcloud.config import ConfigError, load

    try:
        load(data_dir.config_file)
    except ConfigError as error:
        raise StandaloneError(f"{data_dir.config_file}: {error}") from error


def _await_ready(data_dir: DataDir, child: subprocess.Popen[bytes] | None, timeout: float, talk: TextIO) -> None:
    end = time.monotonic() + timeout
    dots = 0
    while not describe(data_dir)["ready"]:
        if child and child.poll():
            print(" failed", file=talk)
            raise StandaloneError(f"the server did not start: {_last_line(data_dir.log_file('supervisor'))}")
        if time.monotonic() > end:
            print(" not ready", file=talk)
            log = data_dir.log_file("invoker")
            raise StandaloneError(f"the server is not ready after {timeout:g} s; {log} ends with: {_last_line(log)}")
        dots += 1
        print("." if dots % 5 == 1 else "", end="", file=talk, flush=True)
        time.sleep(0.1)
    print(" ready", file=talk)


def stop(data_dir: DataDir, arguments: argparse.Namespace) -> int:
    """Ask the supervisor to end and wait until it has ended."""
    if not is_running(data_dir):
        print("The server is stopped")
        return 0
    state = read_json(data_dir.state_file) or {}
    process = None
    if pid := state.get("pid"):
        with contextlib.suppress(OSError):
            process = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + arguments.timeout
    while is_running(data_dir):
        if time.monotonic() > end:
            raise StandaloneError(f"the server (process {pid}) has not ended after {arguments.timeout:g} s")
        time.sleep(0.1)
    if process is not None:  # it has released its lock and is about to end
        select.select([process], [], [], 5)
        os.close(process)
    print("The server is stopped; its data is kept in", data_dir.folder)
    return 0


def status(data_dir: DataDir, arguments: argparse.Namespace) -> int:
    """Show the server's state."""
    facts = describe(data_dir)
    print_status(facts, _as_json(arguments))
    if facts["state"] == "stopped":
        return STOPPED
    return 0 if facts["ready"] else 1


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return lines[-1].removeprefix("oscar-standalone: ") if lines else "nothing"


if __name__ == "__main__":
    sys.exit(main())
