# SPDX-License-Identifier: Apache-2.0
"""``oscar``: the entry point, and the list of commands. A command's module is imported when the command runs."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from oscar_fedcloud import __version__
from oscar_fedcloud.cli.oscar.app import App, note
from oscar_fedcloud.cli.oscar.errors import EXIT_CODES, CommandError
from oscar_fedcloud.cli.streams import INTERRUPTED, guard

PROGRAM = "oscar"
COMMANDS = "oscar_fedcloud.cli.oscar.commands"

# Command -> (module, summary in `oscar --help`). A test compares the summaries with those of the commands.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Services": {
        "apply": ("apply", "Declare the services of FDL files, after showing what that changes."),
        "get": ("services", "List services."),
        "describe": ("services", "Show all there is to know of a service."),
        "delete": ("apply", "Remove services. Their data stays unless --data delete is given."),
        "services": ("services", "Show and take back earlier revisions of a service."),
    },
    "Files and jobs": {
        "put": ("put", "Send files through a service."),
        "fetch": ("put", "Fetch what a job wrote."),
        "jobs": ("jobs", "List jobs, newest first."),
        "job": ("jobs", "Show one job with its attempts and outputs."),
        "logs": ("logs", "Print the log of a job."),
        "why": ("jobs", "Say why a file did or did not run."),
        "retry": ("jobs", "Queue jobs again that did not succeed."),
        "replay": ("jobs", "Queue ended jobs again, whatever their end was."),
        "cancel": ("jobs", "End jobs."),
    },
    "Store": {
        "buckets": ("store", "List, make and delete buckets."),
        "ls": ("store", "List the objects of a bucket."),
        "cp": ("store", "Copy files to and from the store."),
        "rm": ("store", "Delete objects."),
    },
    "Writing services (no server needed)": {
        "validate": ("fdl", "Check FDL files."),
        "try": ("fdl", "Run one file through a service on this machine."),
        "schema": ("fdl", "Print the JSON Schema of FDL, for editors."),
    },
    "Setup": {
        "context": ("context", "Choose among servers, and say how to sign in."),
        "info": ("info", "Show what runs at the server."),
        "doctor": ("doctor", "Find out why something does not work."),
        "completion": ("completion", "Print what completes commands in a shell."),
    },
}
_WHERE = {name: where for section in SECTIONS.values() for name, where in section.items()}


class Commands(click.Group):
    """The commands in sections, each imported when needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return list(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name, or None."""
        if cmd_name not in _WHERE:
            return None
        module = importlib.import_module(f"{COMMANDS}.{_WHERE[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or suggest a similar one."""
        import difflib

        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in _WHERE:
            close = difflib.get_close_matches(name, _WHERE, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"there is no command {name!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()], col_max=12)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the meaning of the exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text.replace("`", "")) for code, text in EXIT_CODES.items()])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.option("-c", "--context", metavar="NAME", help="Context to use instead of the current one.")
@click.pass_context
def oscar(ctx: click.Context, context: str | None) -> None:
    """Services, files and jobs of an OSCAR server."""
    app = ctx.ensure_object(App)
    app.context = context
    ctx.call_on_close(app.close)


def main(argv: list[str] | None = None) -> int:
    """Entry point of ``oscar``; returns the exit code."""
    return guard(PROGRAM, lambda: run(argv))


def run(argv: list[str] | None = None) -> int:
    """Run one command; errors become one sentence on standard error and an exit code."""
    try:
        code: Any = oscar.main(argv, prog_name=PROGRAM, standalone_mode=False)
    except click.Abort:
        click.echo("", err=True)
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        click.echo(f"{PROGRAM}: {error.format_message()}", err=True)
        if isinstance(error, click.UsageError) and error.ctx:
            click.echo(f"Try `{error.ctx.command_path} --help`.", err=True)
        return 2
    except CommandError as error:
        if str(error):
            note(f"{PROGRAM}: {error}")
        return error.code
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main())
