# SPDX-License-Identifier: Apache-2.0
"""``oscar-autoscaler``: the daemon, and commands that show what it would do and why."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from oscar_fedcloud import __version__
from oscar_fedcloud.cli.streams import guard

_PROGRAM = "oscar-autoscaler"
_EXITS = """\
exit codes: 0 done, 1 could not be done (no cluster, no cloud), 2 bad configuration or arguments,
3 replay: a decision differs from the recorded one, 4 explain: there is no such Pod, node or machine
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; its exit code."""
    return guard(_PROGRAM, lambda: _main(argv))


def _main(argv: list[str] | None) -> int:
    options = make_parser().parse_args(argv)
    _know_secrets(options)
    return _run_command(options)


def _run_command(options: argparse.Namespace) -> int:
    """Run the command. What it needs is imported here, so that --help needs nothing."""
    from oscar_fedcloud.autoscaler.clouds.protocol import CloudError
    from oscar_fedcloud.config import ConfigError
    from oscar_fedcloud.kube import KubeError

    try:
        code: int = options.run(options)
    except ConfigError as error:
        for line in str(error).splitlines():
            print(f"{_PROGRAM}: {line}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise
    except (KubeError, CloudError, OSError) as error:
        print(f"{_PROGRAM}: {error}", file=sys.stderr)
        return 1
    return code


def _shows(name: str) -> Callable[[argparse.Namespace], int]:
    """Return a command that shows something; its module is imported when it runs."""

    def run(options: argparse.Namespace) -> int:
        from oscar_fedcloud.cli import autoscaler_shows

        command: Callable[[argparse.Namespace], int] = getattr(autoscaler_shows, name)
        return command(options)

    return run


def _know_secrets(options: argparse.Namespace) -> None:
    """Where systemd hands no credentials over, an administrator's command finds them beside the configuration."""
    folder = os.path.join(os.path.dirname(getattr(options, "config", "")), "secrets")
    if os.path.isdir(folder):
        os.environ.setdefault("CREDENTIALS_DIRECTORY", folder)


def make_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Adds worker machines when Pods wait, and removes them when nothing runs on them.",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    run = _command(commands, "run", _run, "run the daemon until it is told to stop", as_json=False)
    run.add_argument("--dry-run", action="store_true", help="decide and log the decisions, but change nothing")
    run.add_argument("--record", type=Path, metavar="FILE", help="append each decision and what it was made from")
    run.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))
    _command(commands, "validate", _validate, "check the configuration", as_json=False)
    explain = _command(
        commands, "explain", _shows("explain_one"), "say why a Pod triggers machines or not, why a node stays"
    )
    explain.add_argument("what", metavar="WHAT", help="NAMESPACE/POD, or the name of a node or machine")
    plan = _command(commands, "plan", _shows("plan"), "show what would be decided now, with --what-if for more Pods")
    plan.add_argument(
        "--what-if",
        action="append",
        default=[],
        metavar="DEMAND",
        help="e.g. '500 x cpu=2,memory=4Gi'; may be repeated",
    )
    record = _command(
        commands, "record", _shows("record_once"), "write down how things stand, to replay it", as_json=False
    )
    record.add_argument("file", type=Path, nargs="?", metavar="FILE", help="appended to; standard output if not given")
    replay = commands.add_parser("replay", help="decide again on what was recorded")
    replay.add_argument("file", type=Path, metavar="FILE")
    replay.add_argument("--json", action="store_true", help="for programs")
    replay.set_defaults(run=_shows("replay_file"))
    _command(commands, "machines", _shows("machines"), "list the machines")
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    *,
    as_json: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument(
        "--config", default="/etc/oscar-autoscaler/autoscaler.yml", metavar="FILE", help="default: %(default)s"
    )
    if as_json:
        parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)
    return parser


def _validate(options: argparse.Namespace) -> int:
    from oscar_fedcloud.autoscaler.config.loading import load

    config = load(options.config)
    print(f"{options.config}: {len(config.pools)} pool(s) on {len(config.clouds)} cloud(s), nothing wrong")
    return 0


def _run(options: argparse.Namespace) -> int:
    from oscar_fedcloud.autoscaler.config.loading import load
    from oscar_fedcloud.cli.autoscaler_daemon import make_program
    from oscar_fedcloud.daemon import program

    config = load(options.config)
    found = make_program(config, Path(options.config), dry_run=options.dry_run, record_to=options.record)
    return program.main(found, options.log_level)


if __name__ == "__main__":
    sys.exit(main())
