# SPDX-License-Identifier: Apache-2.0
"""``oscar-fedcloud``: check an FDL file, try a service on one file, print FDL's JSON Schema. No server needed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from oscar_fedcloud import __version__
from oscar_fedcloud.catalogue.matching import filter_rule
from oscar_fedcloud.cli.store import StoreError
from oscar_fedcloud.cli.streams import guard
from oscar_fedcloud.fdl import Fdl, FdlError, FdlProblem, Loop, Service, find_loops, json_schema, parse_fdl


class CommandError(Exception):
    """What was asked cannot be done; the message says why and what would help."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What there is to say of an FDL file. ``fdl`` is None when there are problems."""

    fdl: Fdl | None
    problems: Sequence[FdlProblem] = ()
    warnings: Sequence[str] = ()

    def document(self) -> dict[str, Any]:
        """The verdict as plain data."""
        return {
            "valid": self.fdl is not None,
            "services": [service.name for service in self.fdl.services] if self.fdl else [],
            "problems": [
                {"path": each.path, "value": each.value, "message": each.message, "hint": each.hint}
                for each in self.problems
            ],
            "warnings": list(self.warnings),
        }


def check(path: Path) -> Verdict:
    """Read an FDL file, with the scripts that it names, and say all that is wrong with it. Raises CommandError."""
    try:
        fdl = parse_fdl(_read_yaml(path), lambda script: _read_script(path, script), rules=(filter_rule,))
    except FdlError as error:
        return Verdict(None, error.problems)
    loops = find_loops(fdl.services)
    problems = [_loop_problem(loop) for loop in loops if not loop.breakable]
    warnings = [*fdl.warnings, *(loop.message for loop in loops if loop.breakable)]
    return Verdict(None if problems else fdl, problems, warnings)


def _loop_problem(loop: Loop) -> FdlProblem:
    hint = "write to a folder that is no input, or take other suffixes in than come out"
    return FdlProblem("functions.oscar", " -> ".join(loop.services), loop.message, hint)


def _read_yaml(path: Path) -> Any:
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.safe_load(file)
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} is not YAML: {error}") from error


def _read_script(fdl: Path, script: str) -> str:
    """A script's content; its path is relative to the FDL file, or absolute."""
    return (fdl.parent / script).read_text(encoding="utf-8")


def validate(arguments: argparse.Namespace) -> int:
    """Print the verdict on an FDL file."""
    verdict = check(arguments.fdl)
    if arguments.json:
        print(json.dumps(verdict.document(), indent=2, default=str))
        return 0 if verdict.fdl else 1
    for warning in verdict.warnings:
        print(f"warning: {warning}")
    if verdict.fdl:
        names = ", ".join(service.name for service in verdict.fdl.services) or "no service"
        print(f"{arguments.fdl}: OK ({names})")
        return 0
    for problem in verdict.problems:
        print(problem)
    count = len(verdict.problems)
    print(f"{arguments.fdl}: {count} problem{'s' if count > 1 else ''}")
    return 1


def schema(_: argparse.Namespace) -> int:
    """Print the JSON Schema of an FDL file."""
    print(json.dumps(json_schema(), indent=2))
    return 0


def try_service(arguments: argparse.Namespace) -> int:
    """Run one file through one service, offline."""
    from oscar_fedcloud.cli.tryout import TryError, try_file  # it needs the daemon's libraries, which are slow to load

    verdict = check(arguments.fdl)
    if verdict.fdl is None:
        raise CommandError(f"{arguments.fdl} has problems: see `oscar-fedcloud validate {arguments.fdl}`")
    if not arguments.sample.is_file():
        raise CommandError(f"{arguments.sample} is not a file")
    service = _choose(verdict.fdl.services, arguments.service)
    try:
        return try_file(service, arguments.sample, arguments.output, keep=arguments.keep)
    except (TryError, StoreError) as error:
        raise CommandError(str(error)) from error


def _choose(services: Sequence[Service], name: str | None) -> Service:
    names = ", ".join(service.name for service in services)
    if name is None:
        if len(services) == 1:
            return services[0]
        raise CommandError(f"the file declares {len(services)} services ({names}): choose one with --service")
    for service in services:
        if service.name == name:
            return service
    raise CommandError(f"the file declares no service {name!r}, it declares {names}")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=__doc__.partition(": ")[2])
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("validate", help="say all that is wrong with an FDL file; exit code 1 if there is")
    command.add_argument("fdl", type=Path, metavar="FDL", help="FDL file (YAML)")
    command.add_argument("--json", action="store_true", help="print the verdict as JSON")
    command.set_defaults(command=validate)

    text = "run one file through a service, as a server would, and show what comes out; the exit code is the script's"
    command = commands.add_parser("try", help=text, description=text[0].upper() + text[1:] + ".")
    command.add_argument("fdl", type=Path, metavar="FDL", help="FDL file (YAML)")
    command.add_argument("sample", type=Path, metavar="FILE", help="the input")
    command.add_argument("--service", metavar="NAME", help="which service, when the file declares several")
    command.add_argument("--output", type=Path, metavar="DIR", help="where outputs go: DIR/BUCKET/KEY (a new folder)")
    command.add_argument("--keep", action="store_true", help="keep the job's work folder, to look into it")
    command.set_defaults(command=try_service)

    command = commands.add_parser("schema", help="print the JSON Schema of FDL, for editors")
    command.set_defaults(command=schema)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``oscar-fedcloud``; returns the exit code."""
    return guard("oscar-fedcloud", lambda: run(argv, "oscar-fedcloud"))


def run(argv: list[str] | None, program: str) -> int:
    """Run one command for the program of that name; returns the exit code."""
    arguments = _parser(program).parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except CommandError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
