# SPDX-License-Identifier: Apache-2.0
"""Determines the type of server of a context."""

from __future__ import annotations

from oscar_fedcloud.cli.oscar.auth import authorization
from oscar_fedcloud.cli.oscar.contexts import Context
from oscar_fedcloud.cli.oscar.errors import CommandError, Unreachable
from oscar_fedcloud.cli.oscar.http import Http
from oscar_fedcloud.cli.oscar.legacy import LegacyServer, is_oscar
from oscar_fedcloud.cli.oscar.server import Server


def connect(context: Context) -> Server:
    """Return the server of a context after determining its type. Raises CommandError."""
    http = Http(context, authorization(context))
    try:
        alive = http.bytes("GET", "/livez")
    except Unreachable:
        raise
    except CommandError:
        alive = b""
    if alive.strip() == b"ok":
        return Server(http)
    if is_oscar(http):
        return LegacyServer(http)
    raise Unreachable(f"there is no OSCAR server at {context.endpoint}")
