# SPDX-License-Identifier: Apache-2.0
"""``oscar completion``: shell completion of commands and options."""

from __future__ import annotations

import click

_HOW = {
    "bash": 'eval "$(oscar completion bash)"    # in ~/.bashrc',
    "zsh": 'eval "$(oscar completion zsh)"     # in ~/.zshrc',
    "fish": "oscar completion fish | source     # in ~/.config/fish/config.fish",
}


@click.command(
    "completion", epilog="\b\nIn bash:  " + _HOW["bash"] + "\nIn zsh:   " + _HOW["zsh"] + "\nIn fish:  " + _HOW["fish"]
)
@click.argument("shell", type=click.Choice(tuple(_HOW)))
def completion_command(shell: str) -> None:
    """Print what completes commands in a shell."""
    from click.shell_completion import get_completion_class

    from oscar_fedcloud.cli.oscar.main import PROGRAM, oscar

    found = get_completion_class(shell)
    if found is not None:
        click.echo(_source(found(oscar, {}, PROGRAM, "_OSCAR_COMPLETE")))


def _source(completion: click.shell_completion.ShellComplete) -> str:
    """Return the script without checking the shell's version, which would start that shell."""
    return completion.source_template % completion.source_vars()
