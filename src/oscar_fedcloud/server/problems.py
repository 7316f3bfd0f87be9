# SPDX-License-Identifier: Apache-2.0
"""Errors as clients see them: problem details (RFC 9457) or, on the OSCAR-compatible routes, one line of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

import structlog
from msgspec import Meta, Struct
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from oscar_fedcloud.fdl import FdlProblem
from oscar_fedcloud.server.encoding import encode

log = structlog.get_logger(__name__)

PROBLEM = "application/problem+json"


class ApiError(Exception):
    """A request that cannot be served. ``detail`` is one sentence for users."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[FdlProblem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


def invalid(path: str, value: object, message: str, hint: str = "") -> ApiError:
    """Return 422 for one field or parameter of the request."""
    problem = FdlProblem(path, value, message, hint)
    return ApiError(422, str(problem), (problem,))


def bad_cursor(cursor: str) -> ApiError:
    """Return 422 for an invalid cursor."""
    return invalid("query.cursor", cursor, f"{cursor!r} is not a cursor", "give the one of the page before")


class FieldProblem(Struct, frozen=True, omit_defaults=True):
    """One problem of a document: its place, the value, and the remedy."""

    path: str
    value: Any
    message: str
    hint: str
    line: Annotated[int, Meta(description="of the field in the request's body, from 1")] = 0
    column: Annotated[int, Meta(description="of the field in characters, from 1")] = 0


class Problem(Struct, frozen=True, kw_only=True):
    """Problem details according to RFC 9457."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []


def wants_problem(scope: Scope) -> bool:
    """Return whether the response to this request is problem details rather than text."""
    return str(scope["path"]).startswith("/v2/") or PROBLEM in Headers(scope=scope).get("accept", "")


def refuse(scope: Scope, error: ApiError) -> Response:
    """Return the response for an error, in the form that this request expects."""
    if error.status > 500:
        log.warning("request failed", method=scope["method"], path=scope["path"], error=error.detail)
    if wants_problem(scope):
        return Response(encode(problem(error)), error.status, error.headers, PROBLEM)
    status = 400 if error.status == 422 else error.status  # the existing API does not use 422
    text = "\n".join(str(one) for one in error.errors) or error.detail
    return PlainTextResponse(text, status, error.headers)


def problem(error: ApiError) -> Problem:
    """Return the problem details of an error."""
    errors = [FieldProblem(one.path, one.value, one.message, one.hint, one.line, one.column) for one in error.errors]
    title = HTTPStatus(error.status).phrase
    return Problem(title=title, status=error.status, detail=error.detail, errors=errors)
