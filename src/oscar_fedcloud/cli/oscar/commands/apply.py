# SPDX-License-Identifier: Apache-2.0
"""``oscar apply`` and ``delete``: show the changes before applying them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from oscar_fedcloud.cli.oscar.app import App, colours, confirmed, formatted, note, on_server, pass_app
from oscar_fedcloud.cli.oscar.errors import CommandError, TimedOut, WrongUse

if TYPE_CHECKING:
    from oscar_fedcloud.cli.checking import CheckResult

READY = 60.0  # s


@click.command("apply")
@click.argument("fdl", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--prune", is_flag=True, help="Also remove all services that the files do not declare.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@click.option("--wait/--no-wait", default=True, help="Wait until events start jobs.  [default: wait]")
@click.option("--timeout", type=float, default=READY, show_default=True, metavar="S", help="Longest wait.")
@formatted
@on_server
@pass_app
def apply_command(
    app: App, fdl: Sequence[Path], dry_run: bool, prune: bool, yes: bool, wait: bool, timeout: float
) -> int:
    """Declare the services of FDL files, after showing what that changes.

    FDL is a file, or a folder whose FDL files are all read. The server computes the plan and carries out the same.
    Secrets are never shown.
    """
    from oscar_fedcloud.cli.checking import documents

    results = read(fdl)
    request = {"services": documents(results), "state": "present", "prune": prune}
    try:
        plan = _change(app, request, dry_run, yes, "Apply these changes?")
    except CommandError as error:
        raise _placed(error, results) from error
    names = [str(item["name"]) for item in plan if item["action"] in ("create", "update")]
    if wait and not (dry_run or app.server.legacy):  # an existing OSCAR does not report when a service is ready
        wait_ready(app, names, timeout)
    return 0


@click.command("delete")
@click.argument("names", metavar="SERVICE...", nargs=-1, required=True)
@click.option(
    "--data",
    type=click.Choice(("keep", "delete")),
    default="keep",
    show_default=True,
    help="What becomes of the services' buckets and their objects.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask. Needed where there is no terminal.")
@formatted
@on_server
@pass_app
def delete_command(app: App, names: Sequence[str], data: str, dry_run: bool, yes: bool) -> int:
    """Remove services. Their data stays unless --data delete is given."""
    request = {"names": list(dict.fromkeys(names)), "state": "absent", "data": data}
    question = "Remove them?" if data == "keep" else "Remove them, and delete their buckets with all objects?"
    _change(app, request, dry_run, yes, question)
    return 0


def read(files: Sequence[Path]) -> list[CheckResult]:
    """Return the check results of FDL files. Raises WrongUse with all problems, if there are any."""
    from oscar_fedcloud.cli import checking

    try:
        results = [result for file in files for result in checking.check_all(file, any_store=True)]
    except checking.CheckError as error:
        raise WrongUse(str(error)) from error
    for result in results:
        for warning in result.warnings:
            note(checking.warning_line(warning))
    if wrong := [str(problem) for result in results for problem in result.problems]:
        raise WrongUse("\n".join(wrong))
    return results


def _placed(error: CommandError, results: Sequence[CheckResult]) -> CommandError:
    """Return the server's refusal with its places in the files."""
    from oscar_fedcloud.cli.checking import with_answer
    from oscar_fedcloud.cli.oscar.http import Refused

    if not isinstance(error, Refused) or not error.problem.get("errors"):
        return error
    told = with_answer(results, error.problem["errors"], ())
    message = "\n".join(str(problem) for result in told for problem in result.problems)
    return Refused(message, error.status, error.problem)


def _change(app: App, request: Mapping[str, Any], dry_run: bool, yes: bool, question: str) -> list[dict[str, Any]]:
    """Show the plan, ask, and apply it; return the planned items."""
    answer = app.server.apply(request, dry_run=True)
    if dry_run:
        _show(app, answer)
        return list(answer["plan"])
    if not answer["changed"]:
        _show(app, answer)
        return []
    if not yes:
        _print_plan(answer, sys.stderr)
        confirmed(question, yes)
    answer = app.server.apply(request, dry_run=False)
    if yes or app.format != "table":
        _show(app, answer)
    return list(answer["plan"])


def _show(app: App, answer: Mapping[str, Any]) -> None:
    if app.format == "table":
        _print_plan(answer, sys.stdout)
    elif app.format == "name":
        for item in answer["plan"]:
            click.echo(item["name"])
    else:
        app.document(answer)


def _print_plan(answer: Mapping[str, Any], stream: Any) -> None:
    from oscar_fedcloud.cli.oscar.plan import coloured, lines, summary

    colour = colours(stream)
    for warning in answer["warnings"]:
        note(f"warning: {warning}")
    for line in lines(answer["plan"]):
        click.echo(coloured(line) if colour else line, file=stream)
    click.echo(f"Plan: {summary(answer['plan'])}.", file=stream)


def wait_ready(app: App, names: Sequence[str], timeout: float) -> None:
    """Wait until events start jobs of these services. Raises TimedOut, which names those not ready and the reasons."""
    end, pause = time.monotonic() + timeout, 0.05
    left = dict.fromkeys(names, "")
    while left:
        for name in list(left):
            status = app.server.service(name).get("status") or {"state": "ready", "reason": ""}
            left[name] = status["reason"] or status["state"]
            if status["state"] == "ready":
                del left[name]
                note(f"{name} is ready")
        if left and time.monotonic() > end:
            why = "; ".join(f"{name} ({reason})" for name, reason in left.items())
            raise TimedOut(f"not ready after {timeout:g} s: {why}")
        if left:
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
