# SPDX-License-Identifier: Apache-2.0
"""``python -m oscar_fedcloud.cli.oscar.reference docs/oscar.md``: write the reference of the commands into the page."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from oscar_fedcloud.cli.oscar.errors import EXIT_CODES
from oscar_fedcloud.cli.oscar.main import PROGRAM, SECTIONS, oscar

WIDTH = 100
BEGIN = "<!-- {part}: begin (python -m oscar_fedcloud.cli.oscar.reference docs/oscar.md) -->"
END = "<!-- {part}: end -->"


def exit_codes() -> str:
    """Return the table of exit codes."""
    rows = [f"| {code} | {text} |" for code, text in EXIT_CODES.items()]
    return "\n".join(["| exit code | meaning |", "|---|---|", *rows])


def commands() -> str:
    """Return the help of all commands by section."""
    parts = []
    for title, section in SECTIONS.items():
        parts.append(f"## {title}")
        parts += [f"### {name}\n\n{text}" for each in section for name, text in _helps(each)]
    return "\n\n".join(parts)


def _helps(name: str) -> Iterator[tuple[str, str]]:
    names = ["-h", "--help"]
    context = click.Context(oscar, info_name=PROGRAM, terminal_width=WIDTH, help_option_names=names)
    command = oscar.get_command(context, name)
    if command is None:
        raise LookupError(name)
    if not command.add_help_option:  # the parser of oscar-fedcloud prints it
        about = (
            f"{command.help}\n\nThe options are those of `oscar-fedcloud {name}`; `{PROGRAM} {name} --help` shows them."
        )
        yield f"{PROGRAM} {name}", about
        return
    yield from _tree(command, context, name)


def _tree(command: click.Command, parent: click.Context, name: str) -> Iterator[tuple[str, str]]:
    """Yield the help of a command and of its subcommands."""
    context = click.Context(command, parent=parent, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    yield context.command_path, f"```text\n{_stripped(command.get_help(context))}\n```"
    if isinstance(command, click.Group):
        for each in command.list_commands(context):
            below = command.get_command(context, each)
            if below is not None:
                yield from _tree(below, context, each)


def _stripped(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines())


def written(page: str) -> str:
    """Return the page with its generated parts up to date."""
    for part, text in (("exit codes", exit_codes()), ("commands", commands())):
        begin, end = BEGIN.format(part=part), END.format(part=part)
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(written(file.read_text(encoding="utf-8")), encoding="utf-8")
