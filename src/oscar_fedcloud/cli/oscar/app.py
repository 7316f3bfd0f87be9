# SPDX-License-Identifier: Apache-2.0
"""The context of every command: the server of the chosen context, and the output."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from oscar_fedcloud.cli.oscar.text import Column, printable, table

if TYPE_CHECKING:
    from oscar_fedcloud.cli.oscar.server import Server

FORMATS = ("table", "json", "yaml", "name")
P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class App:
    """One run of the program."""

    context: str | None = None
    format: str = "table"
    _server: Server | None = field(default=None, repr=False)

    @property
    def server(self) -> Server:
        """Return the server; its type is determined at the first use. Raises CommandError."""
        if self._server is None:
            from oscar_fedcloud.cli.oscar.connect import connect
            from oscar_fedcloud.cli.oscar.contexts import choose

            self._server = connect(choose(self.context))
        return self._server

    def close(self) -> None:
        """Close the connections."""
        if self._server is not None:
            self._server.close()

    @property
    def plain(self) -> bool:
        """Return whether the output is not for a terminal, or no table."""
        return self.format != "table" or not is_terminal(sys.stdout)

    def show(
        self,
        columns: Sequence[Column],
        items: Sequence[Any],
        row: Callable[[Any], Sequence[str]],
        name: Callable[[Any], str],
        nothing: str = "",
    ) -> None:
        """Print items in the chosen format; ``nothing`` is printed for users if there are none."""
        if self.format == "name":
            for item in items:
                click.echo(printable(name(item)))
        elif self.format != "table":
            self.document(list(items))
        elif items:
            click.echo(self.table(columns, [row(item) for item in items]))
        elif nothing:
            note(nothing)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
        """Return a table that fits the terminal, if there is one."""
        return table(columns, rows, None if self.plain else terminal_width(), colours(sys.stdout))

    def document(self, value: Any, name: str = "") -> None:
        """Print a value as JSON or YAML, or only its name if requested."""
        if self.format == "name":
            click.echo(printable(name))
        elif self.format == "json":
            click.echo(to_json(value))
        else:
            import yaml

            click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=unicode_output()), nl=False)


def terminal_width() -> int:
    """Return the width of the terminal in columns."""
    import shutil

    return shutil.get_terminal_size((80, 24)).columns


def to_json(value: Any) -> str:
    """Return a value as JSON, in ASCII if the output does not support more."""
    import json

    return json.dumps(value, indent=2, ensure_ascii=not unicode_output())


def unicode_output() -> bool:
    """Return whether standard output supports all characters."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):
        return False


def colours(stream: Any) -> bool:
    """Return whether a stream shows colours and the user wants them (see https://no-color.org)."""
    import os

    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(text: str) -> None:
    """Print a note that is not part of the result to standard error."""
    click.echo("\n".join(printable(line) for line in text.split("\n")), err=True)


def confirmed(question: str, yes: bool) -> None:
    """Ask before a change, unless ``yes``. Raises WrongUse without a terminal, Abort if the answer is no."""
    if yes:
        return
    if not is_terminal(sys.stdin):
        from oscar_fedcloud.cli.oscar.errors import WrongUse

        raise WrongUse("nothing was changed: there is no terminal to ask on; give --yes to go ahead without a question")
    if not click.confirm(question, err=True):
        from oscar_fedcloud.cli.oscar.errors import CommandError

        raise CommandError("nothing was changed")


def _set_context(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_object(App).context = value  # type: ignore[union-attr]


def _set_format(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_object(App).format = value  # type: ignore[union-attr]


def on_server(function: F) -> F:
    """Add the option that chooses the context."""
    return click.option(
        "-c",
        "--context",
        metavar="NAME",
        expose_value=False,
        callback=_set_context,
        help="Context to use instead of the current one.",
    )(function)


def formatted(function: F) -> F:
    """Add the option that chooses the output format."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        metavar="FORMAT",
        expose_value=False,
        callback=_set_format,
        help="Format of the output: table, json, yaml or name.  [default: table]",
    )(function)


def pass_app(function: Callable[Concatenate[App, P], T]) -> Callable[P, T]:
    """Call the function with the program's run as its first argument."""

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> T:
        app = click.get_current_context().find_object(App)
        return function(app or App(), *args, **options)

    return call
