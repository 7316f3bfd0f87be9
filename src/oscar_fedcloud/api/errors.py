# SPDX-License-Identifier: Apache-2.0
"""Errors as clients see them: problem details (RFC 9457) or, on the OSCAR-compatible routes, one line of text."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import Scope

from oscar_fedcloud.api.v2 import views
from oscar_fedcloud.catalogue.entries import StoreError
from oscar_fedcloud.domain.events import BadEvent, EventTooLarge
from oscar_fedcloud.domain.services import Conflict, NotFound, NotStarted
from oscar_fedcloud.fdl import FdlError, FdlProblem
from oscar_fedcloud.ledger import BadValue, LedgerUnavailable, StateError, Trouble
from oscar_fedcloud.server.encoding import encode
from oscar_fedcloud.storage.errors import BucketNotEmpty, ProviderError, Refused, StoreFull

log = structlog.get_logger(__name__)

PROBLEM = "application/problem+json"


class ApiError(Exception):
    """A request that cannot be answered as asked. ``detail`` is one sentence for a person."""

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
    """422 about one field or parameter of the request."""
    problem = FdlProblem(path, value, message, hint)
    return ApiError(422, str(problem), (problem,))


def bad_cursor(cursor: str) -> ApiError:
    """422 about a cursor that no answer has given."""
    return invalid("query.cursor", cursor, f"{cursor!r} is not a cursor", "give the one of the page before")


# The first that fits counts: BucketNotEmpty is a Conflict too, EventTooLarge a BadEvent.
_STATUS: Mapping[type[Exception], int] = {
    BucketNotEmpty: 409,
    NotFound: 404,
    Conflict: 412,
    StateError: 409,
    NotStarted: 422,
    EventTooLarge: 413,
    BadEvent: 422,
    BadValue: 422,
    Refused: 422,
    StoreFull: 507,
    ProviderError: 503,
    StoreError: 503,
    ClientDisconnect: 400,
}


def as_api_error(error: Exception) -> ApiError:
    """The answer that an exception stands for. What is not foreseen is a 500 that tells nothing of the inside."""
    match error:
        case ApiError():
            return error
        case HTTPException():
            return ApiError(error.status_code, error.detail, headers=error.headers)
        case FdlError():
            count = len(error.problems)
            return ApiError(422, f"the document has {count} problem{'' if count == 1 else 's'}", error.problems)
        case LedgerUnavailable():
            return _ledger_error(error)
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" ({error.filename})" if error.filename else ""
            return ApiError(507, f"no space is left on the server's disk{where}; what was acknowledged is kept")
        case OSError() if error.errno == errno.EROFS:
            return ApiError(503, "the server's disk can be read only; what was acknowledged is kept")
    for kind, status in _STATUS.items():
        if isinstance(error, kind):
            return ApiError(status, str(error) or HTTPStatus(status).phrase)
    return ApiError(500, "an unexpected error happened; the server's log tells more")


def _ledger_error(error: LedgerUnavailable) -> ApiError:
    detail = "the ledger is not available at the moment" if error.kind == Trouble.AWAY else str(error)
    return ApiError(507 if error.kind == Trouble.FULL else 503, detail, headers={"Retry-After": "2"})


def wants_problem(scope: Scope) -> bool:
    """Whether this request is answered by problem details rather than by text."""
    return str(scope["path"]).startswith("/v2/") or PROBLEM in Headers(scope=scope).get("accept", "")


def respond(scope: Scope, error: Exception) -> Response:
    """The response for an exception, in the form that this request expects."""
    known = as_api_error(error)
    if known.status == 500:
        log.error("request failed", method=scope["method"], path=scope["path"], exc_info=error)
    elif known.status > 500:
        log.warning("request not answered", method=scope["method"], path=scope["path"], error=known.detail)
    if wants_problem(scope):
        return Response(encode(problem(known)), known.status, known.headers, PROBLEM)
    status = 400 if known.status == 422 else known.status  # the existing API knows no 422
    text = "\n".join(str(one) for one in known.errors) or known.detail
    return PlainTextResponse(text, status, known.headers)


def problem(error: ApiError) -> views.Problem:
    """Problem details of an error."""
    errors = [
        views.FieldProblem(one.path, one.value, one.message, one.hint, one.line, one.column) for one in error.errors
    ]
    title = HTTPStatus(error.status).phrase
    return views.Problem(title=title, status=error.status, detail=error.detail, errors=errors)
