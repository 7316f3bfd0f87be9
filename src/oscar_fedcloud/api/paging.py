# SPDX-License-Identifier: Apache-2.0
"""Pages of lists sorted by name or key: the cursor is the last item of the previous page."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TypeVar

from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.routing import Parameter
from oscar_fedcloud.server.problems import bad_cursor

T = TypeVar("T")

_MOST = 1000  # items on a page
PAGE = (
    Parameter("limit", "items on a page, 1 to 1000, by default all", "integer"),
    Parameter("cursor", "of the page before"),
)


def page(ctx: RequestContext, found: Sequence[T], cursor: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """Return the items that the query requests, all by default, and the cursor of the next page ("" on the last)."""
    limit = ctx.optional_number("limit", 1, _MOST)
    if limit is None or len(found) <= limit:
        return found, ""
    return found[:limit], cursor(found[limit - 1])


def cursor_of(name: str) -> str:
    """Return the cursor of the page after this name or key."""
    return base64.urlsafe_b64encode(name.encode("utf-8", "surrogateescape")).decode("ascii")


def named_by(ctx: RequestContext) -> str:
    """Return the name or key after which the requested page begins. Raises ApiError 422."""
    cursor = ctx.query.get("cursor", "")
    try:
        return base64.b64decode(cursor.encode(), b"-_", validate=True).decode("utf-8", "surrogateescape")
    except ValueError:
        raise bad_cursor(cursor) from None
