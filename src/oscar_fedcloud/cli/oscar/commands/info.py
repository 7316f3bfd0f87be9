# SPDX-License-Identifier: Apache-2.0
"""``oscar info``: the versions of the server."""

from __future__ import annotations

from typing import Any

import click

from oscar_fedcloud import __version__
from oscar_fedcloud.cli.oscar.app import App, formatted, on_server, pass_app
from oscar_fedcloud.cli.oscar.text import plural, printable


@click.command("info")
@formatted
@on_server
@pass_app
def info_command(app: App) -> None:
    """Show what runs at the server."""
    server = app.server
    services = server.services()
    counts: dict[str, int] = {}
    for service in services:
        for state, count in (service.get("counts") or {}).items():
            counts[state] = counts.get(state, 0) + count
    facts: dict[str, Any] = {
        "endpoint": server.endpoint,
        "server": server.kind,
        **{key: value for key, value in server.info().items() if value not in ("", {}, None)},
        "client_version": __version__,
        "services": len(services),
        "jobs": counts,
        "readiness": server.readiness(),
    }
    if app.format != "table":
        app.document(facts, server.endpoint)
        return
    for key, value in facts.items():
        click.echo(f"{key.replace('_', ' ').capitalize() + ':':16} {_words(key, value)}".rstrip())


def _words(key: str, value: Any) -> str:
    if key == "jobs":
        return ", ".join(f"{count} {state}" for state, count in sorted(value.items()) if count) or "none"
    if key == "readiness":
        parts = value.get("parts") or {}
        bad = [f"{name} ({part.get('detail') or 'does not work'})" for name, part in parts.items() if not part["ok"]]
        return printable("not ready: " + ", ".join(bad)) if bad else f"ready ({plural(len(parts), 'part')} work)"
    if isinstance(value, dict):
        return printable(", ".join(f"{name} {each}" for name, each in value.items() if each))
    return printable(str(value))
