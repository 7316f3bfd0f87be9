# SPDX-License-Identifier: Apache-2.0
"""``oscar context``: the servers of a user."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from oscar_fedcloud.cli.oscar.app import App, formatted, is_terminal, note, pass_app
from oscar_fedcloud.cli.oscar.errors import WrongUse
from oscar_fedcloud.cli.oscar.text import Column


@click.group("context", invoke_without_command=True)
@formatted
@click.pass_context
def context_command(context: click.Context) -> None:
    """Choose among servers, and say how to sign in."""
    if context.invoked_subcommand is None:
        _list(context.find_object(App))  # type: ignore[arg-type]


def _list(app: App) -> None:
    from oscar_fedcloud.cli.oscar.contexts import Context, load

    contexts = load()

    def row(context: Context) -> Sequence[str]:
        mark = "*" if context.name == contexts.current else ""
        return (mark, context.name, context.endpoint, context.source)

    found = [contexts.known[name] for name in sorted(contexts.known)]
    if app.format in ("json", "yaml"):
        app.document([{**each.shown(), "current": each.name == contexts.current} for each in found])
        return
    heads = (Column(""), Column("CONTEXT"), Column("ENDPOINT", shrinks=True), Column("FROM"))
    hint = "There are no contexts: add one with `oscar context add NAME ENDPOINT`."
    app.show(heads, found, row, lambda each: str(each.name), hint)


@context_command.command("list")
@formatted
@pass_app
def list_command(app: App) -> None:
    """List all contexts; * is the current one."""
    _list(app)


@context_command.command("add")
@click.argument("name")
@click.argument("endpoint", required=False)
@click.option(
    "--standalone",
    is_flag=False,
    flag_value="",
    metavar="[DATA]",
    help="The server of oscar-standalone with this data folder.",
)
@click.option("--username", default="oscar", show_default=True, help="Who signs in with a password.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("--password-file", type=click.Path(path_type=Path), help="File with the password, read at each use.")
@click.option("--token-stdin", is_flag=True, help="Read a bearer token from standard input.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with a bearer token, read at each use.")
@click.option("--oidc-account", default="", help="Account of oidc-agent.")
@click.option("--ca-file", type=click.Path(path_type=Path), help="Certificates (PEM) to trust instead of the system's.")
@click.option("--insecure", is_flag=True, help="Do not check the server's certificate.")
@click.option("--use/--no-use", default=True, help="Make it the current context.  [default: use]")
def add_command(
    name: str,
    endpoint: str | None,
    standalone: str | None,
    username: str,
    password_stdin: bool,
    password_file: Path | None,
    token_stdin: bool,
    token_file: Path | None,
    oidc_account: str,
    ca_file: Path | None,
    insecure: bool,
    use: bool,
) -> None:
    """Add a server, or change how to sign in there.

    Without an option that says how to sign in, the password is asked for.
    """
    from oscar_fedcloud.cli.oscar.contexts import Context, add, checked

    ways = [password_stdin, password_file, token_stdin, token_file, oidc_account, standalone is not None]
    if sum(map(bool, ways)) > 1:
        raise WrongUse("give one way to sign in")
    if standalone is not None:
        endpoint, username, password_file = _standalone(standalone, endpoint)
    if not endpoint:
        raise WrongUse("ENDPOINT is missing: give the address of the server, such as https://oscar.example.org")
    password = token = ""
    if password_stdin or token_stdin:
        secret = sys.stdin.read().strip()
        if not secret:
            raise WrongUse(f"standard input is empty: it must hold the {'password' if password_stdin else 'token'}")
        password, token = (secret, "") if password_stdin else ("", secret)
    elif not any(ways) and is_terminal(sys.stdin):
        password = click.prompt(f"Password of {username}", hide_input=True, err=True)
    context = Context(
        name=name,
        endpoint=endpoint,
        username=username,
        password=password,
        password_file=_absolute(password_file),
        token=token,
        token_file=_absolute(token_file),
        oidc_account=oidc_account,
        verify=not insecure,
        ca_file=_absolute(ca_file),
    )
    changed = add(checked(context, "ENDPOINT"), use)
    note(f"context {name} is {'written' if changed else 'as it was'}" + ("; it is the current one" if use else ""))


def _absolute(path: Path | None) -> str:
    return "" if path is None else str(path.expanduser().absolute())


def _standalone(folder: str, endpoint: str | None) -> tuple[str, str, Path]:
    """Return address, user and password file of a server on this machine. Raises WrongUse."""
    from oscar_fedcloud.standalone.data_dir import DataDir, ProfileError, default_folder
    from oscar_fedcloud.standalone.status import describe

    if endpoint:
        raise WrongUse("--standalone knows the address: leave ENDPOINT out")
    try:
        facts = describe(DataDir(Path(folder) if folder else default_folder()))
    except ProfileError as error:
        raise WrongUse(str(error)) from error
    if "endpoint" not in facts:
        raise WrongUse(f"there is no server in {facts['data']}: start one with `oscar-standalone start`")
    return facts["endpoint"], facts["user"], Path(facts["password_file"])


@context_command.command("use")
@click.argument("name")
def use_command(name: str) -> None:
    """Make a context the current one."""
    from oscar_fedcloud.cli.oscar.contexts import use

    use(name)
    note(f"{name} is the current context")


@context_command.command("show")
@click.argument("name", required=False)
@formatted
@pass_app
def show_command(app: App, name: str | None) -> None:
    """Show a context with its secrets hidden.  [default: the one in use]"""
    from oscar_fedcloud.cli.oscar.contexts import choose

    found = choose(name or app.context)
    if app.format != "table":
        app.document(found.shown(), found.name)
        return
    for key, value in found.shown().items():
        click.echo(f"{key.replace('_', ' '):20} {value}")


@context_command.command("remove")
@click.argument("name")
def remove_command(name: str) -> None:
    """Forget a context."""
    from oscar_fedcloud.cli.oscar.contexts import remove

    remove(name)
    note(f"context {name} is removed")
