# SPDX-License-Identifier: Apache-2.0
"""``oscar-fedcloud``: check FDL files, try a service on one file, print FDL's JSON Schema. No server needed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oscar_fedcloud import __version__
from oscar_fedcloud.cli.checking import CheckError, CheckResult, check, check_all, warning_line
from oscar_fedcloud.cli.streams import guard
from oscar_fedcloud.fdl import FdlProblem, Service, json_schema
from oscar_fedcloud.standalone.embedded_store import EmbeddedStoreError

VALID, INVALID, NOT_CHECKED = 0, 1, 2  # exit codes of validate
CODES = "Exit codes: 0 all is well (there may be warnings), 1 problems were found, 2 nothing could be checked."


def report(results: Sequence[CheckResult]) -> dict[str, Any]:
    """Return the results as plain data."""
    return {
        "valid": all(result.fdl is not None for result in results),
        "services": [service.name for result in results for service in result.services],
        "problems": [_plain(problem) for result in results for problem in result.problems],
        "warnings": [_plain(warning) for result in results for warning in result.warnings],
    }


def _plain(problem: FdlProblem) -> dict[str, Any]:
    names = ("file", "line", "column", "path", "value", "message", "hint")
    return {name: getattr(problem, name) for name in names}


def lines(result: CheckResult) -> list[str]:
    """Return the result as lines of text, in the format that editors understand: ``file:line:column: ...``."""
    found = [*map(warning_line, result.warnings), *map(str, result.problems)]
    if result.fdl:
        names = ", ".join(service.name for service in result.services) or "no service"
        return [*found, f"{result.name}: OK ({names})"]
    count = len(result.problems)
    return [*found, f"{result.name}: {count} problem{'s' if count > 1 else ''}"]


def validate(arguments: argparse.Namespace) -> int:
    """Print the results for FDL files; return the exit code."""
    results = [result for path in arguments.fdl for result in check_all(path, any_store=bool(arguments.server))]
    if arguments.server and all(result.fdl for result in results):
        from oscar_fedcloud.cli.asking import ask  # the HTTP client is slow to load

        results = ask(arguments.server, arguments.username, results)
    if arguments.json or arguments.output == "json":
        print(json.dumps(report(results), indent=2, default=str))
    else:
        print("\n".join(line for result in results for line in lines(result)))
    return VALID if all(result.fdl for result in results) else INVALID


def schema(_: argparse.Namespace) -> int:
    """Print the JSON Schema of an FDL file."""
    print(json.dumps(json_schema(), indent=2))
    return 0


def try_service(arguments: argparse.Namespace) -> int:
    """Run one file through one service, offline."""
    from oscar_fedcloud.standalone.tryout import (  # it needs the daemon's libraries, which are slow to load
        TryError,
        try_file,
    )

    result = check(arguments.fdl)
    if result.fdl is None:
        raise CheckError(f"{arguments.fdl} has problems: see `oscar-fedcloud validate {arguments.fdl}`")
    if not arguments.sample.is_file():
        raise CheckError(f"{arguments.sample} is not a file")
    service = _choose(result.fdl.services, arguments.service)
    try:
        return try_file(service, arguments.sample, arguments.output, keep=arguments.keep)
    except (TryError, EmbeddedStoreError) as error:
        raise CheckError(str(error)) from error


def _choose(services: Sequence[Service], name: str | None) -> Service:
    names = ", ".join(service.name for service in services)
    if name is None:
        if len(services) == 1:
            return services[0]
        raise CheckError(f"the file declares {len(services)} services ({names}): choose one with --service")
    for service in services:
        if service.name == name:
            return service
    raise CheckError(f"the file declares no service {name!r}, it declares {names}")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=__doc__.partition(": ")[2])
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    text = "say all that is wrong with FDL files, with file, line and column"
    command = commands.add_parser("validate", help=text, description=text[0].upper() + text[1:] + ".", epilog=CODES)
    where = "FDL file (YAML or JSON), - for standard input, or a folder with FDL files in it and below it"
    command.add_argument("fdl", type=Path, nargs="+", metavar="FDL", help=where)
    command.add_argument("--output", choices=("text", "json"), default="text", help="output format")
    command.add_argument("--json", action="store_true", help="the same as --output json")
    server = (
        "also ask this server what it would do; the password is taken from OSCAR_PASSWORD, or a token from OSCAR_TOKEN"
    )
    command.add_argument("--server", metavar="URL", help=server)
    user = os.environ.get("OSCAR_USERNAME", "oscar")
    command.add_argument("--username", default=user, help="user at the server (%(default)s)")
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
    except CheckError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return NOT_CHECKED if arguments.command is validate else 1


if __name__ == "__main__":
    sys.exit(main())
