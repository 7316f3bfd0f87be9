# SPDX-License-Identifier: Apache-2.0
"""Suggestions for requests to routes that do not exist."""

from __future__ import annotations

import difflib
import re
from functools import cache

from oscar_fedcloud.api.routes import ROUTES
from oscar_fedcloud.server.problems import ApiError


def no_route(method: str, path: str) -> ApiError:
    """Return 405 if the path is served with other methods, else 404; both list what is possible."""
    head, action = _split(path)
    actions = sorted({_split(route)[1] for route in _routes() if _split(route)[1] and _fits(_split(route)[0], head)})
    if action and actions and action not in actions:
        near = difflib.get_close_matches(action, actions, 1)
        hint = f"did you mean :{near[0]}?" if near else f"known are: {', '.join(f':{name}' for name in actions)}"
        return ApiError(404, f"{head} has no action :{action}; {hint}")
    if methods := sorted({one for route, ones in _routes().items() if _fits(route, path) for one in ones}):
        allowed = ", ".join(methods)
        detail = f"{method} is not possible on {path}; possible are: {allowed}"
        return ApiError(405, detail, headers={"Allow": allowed})
    near = difflib.get_close_matches(path, list(_routes()), 1)
    hint = f"did you mean {near[0]}?" if near else "GET /openapi.json lists all paths"
    return ApiError(404, f"there is no {path}; {hint}")


@cache
def _routes() -> dict[str, list[str]]:
    """Return all paths as in OpenAPI, each with its methods."""
    found: dict[str, list[str]] = {}
    for route in ROUTES:
        found.setdefault(route.template, []).append(route.method)
    return found


def _split(path: str) -> tuple[str, str]:
    """Return the path and the action after a colon in its last segment, or ""."""
    head, slash, last = path.rpartition("/")
    name, colon, action = last.rpartition(":")
    return (f"{head}{slash}{name}", action) if colon and name else (path, "")


def _fits(template: str, path: str) -> bool:
    pattern = re.sub(r"\\{key\\}", ".+", re.escape(template))
    end = "" if template.startswith("/v2/") else "/?"
    return re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", pattern) + end, path, re.DOTALL) is not None
