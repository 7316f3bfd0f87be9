# SPDX-License-Identifier: Apache-2.0
"""Shorten messages of clouds to one line and remove secrets from them."""

from __future__ import annotations

import re

_LONGEST = 300  # characters; must fit into an Event
_BOOTSTRAP_TOKEN = re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
_JWT = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*")


def reason(text: str) -> str:
    """Return the last non-empty line of ``text``, without tokens."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return hide(lines[-1])[:_LONGEST] if lines else ""


def hide(text: str) -> str:
    """Return ``text`` with bootstrap tokens and access tokens replaced."""
    return _JWT.sub("(token)", _BOOTSTRAP_TOKEN.sub("(token)", text))
