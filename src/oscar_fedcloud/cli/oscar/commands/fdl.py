# SPDX-License-Identifier: Apache-2.0
"""``oscar validate``, ``try`` and ``schema``: the commands of ``oscar-fedcloud``, which need no server."""

from __future__ import annotations

import click

_ANYTHING = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


def _command(name: str, text: str) -> click.Command:
    @click.command(name, help=text, context_settings=_ANYTHING, add_help_option=False)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> int:
        from oscar_fedcloud.cli.fdl import run

        return run([name, *arguments], "oscar")

    return command


validate_command = _command("validate", "Check FDL files.")
try_command = _command("try", "Run one file through a service on this machine.")
schema_command = _command("schema", "Print the JSON Schema of FDL, for editors.")
