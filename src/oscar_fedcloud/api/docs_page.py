# SPDX-License-Identifier: Apache-2.0
"""Writes the route table into a document: ``python -m oscar_fedcloud.api.docs_page docs/api.md``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from oscar_fedcloud.api.routes import ROUTES
from oscar_fedcloud.api.routing import Route

BEGIN = "<!-- routes: begin (python -m oscar_fedcloud.api.docs_page docs/api.md) -->\n"
END = "<!-- routes: end -->\n"


def table(routes: Iterable[Route]) -> str:
    """Return the route table in Markdown."""
    lines = ["| Request | Success | Who | What |", "|---|---|---|---|"]
    for route in routes:
        names = "&".join(one.name for one in route.parameters if one.place == "query")
        query = f"?{names}" if names else ""
        who = {"start": "administrator, the service's token"}.get(route.action, "administrator")
        who = {"public": "anyone", "figures": "administrator, the monitor's token"}.get(route.kind, who)
        lines.append(f"| `{route.method} {route.template}{query}` | {route.status} | {who} | {route.summary} |")
    return "\n".join(lines) + "\n"


def with_table(text: str) -> str:
    """Return the document with the current table between its two markers. Raises ValueError if they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks the line {BEGIN.strip()!r} or {END.strip()!r}")
    return f"{before}{BEGIN}{table(ROUTES)}{END}{after}"


def main() -> None:
    """Update the document named on the command line."""
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
