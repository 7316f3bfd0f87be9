# SPDX-License-Identifier: Apache-2.0
"""What clouds say to people: cut to one line, without secrets."""

from __future__ import annotations

import re

_LONGEST = 300  # characters; it has to fit into an Event
_BOOTSTRAP_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*")


def reason(text: str) -> str:
    """The last line of ``text`` that says something, with tokens taken out."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return hide(lines[-1])[:_LONGEST] if lines else ""


def hide(text: str) -> str:
    """``text`` without bootstrap tokens and access tokens, wherever they come from."""
    return _JWT.sub("(token)", _BOOTSTRAP_TOKEN.sub("(token)", text))
