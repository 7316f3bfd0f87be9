# SPDX-License-Identifier: Apache-2.0
"""Maps exceptions to API errors."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope

from oscar_fedcloud.catalogue.entries import RepositoryError
from oscar_fedcloud.domain.events import BadEvent, EventTooLarge
from oscar_fedcloud.domain.services import Conflict, NotFound, NotStarted
from oscar_fedcloud.fdl import FdlError
from oscar_fedcloud.ledger import BadValue, LedgerTrouble, LedgerUnavailable, StateError
from oscar_fedcloud.server.problems import ApiError, refuse
from oscar_fedcloud.storage.errors import BucketNotEmpty, StoreError, StoreFull, WriteRefused

log = structlog.get_logger(__name__)

# The first match counts: BucketNotEmpty is also a Conflict, EventTooLarge also a BadEvent.
_STATUS: Mapping[type[Exception], int] = {
    BucketNotEmpty: 409,
    NotFound: 404,
    Conflict: 412,
    StateError: 409,
    NotStarted: 422,
    EventTooLarge: 413,
    BadEvent: 422,
    BadValue: 422,
    WriteRefused: 422,
    StoreFull: 507,
    StoreError: 503,
    RepositoryError: 503,
    ClientDisconnect: 400,
}


def as_api_error(error: Exception) -> ApiError:
    """Return the API error for an exception. An unexpected one is a 500 that reveals no internals."""
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
    return ApiError(500, "an unexpected error happened; see the server's log")


def _ledger_error(error: LedgerUnavailable) -> ApiError:
    detail = "the ledger is not available at the moment" if error.kind == LedgerTrouble.AWAY else str(error)
    return ApiError(507 if error.kind == LedgerTrouble.FULL else 503, detail, headers={"Retry-After": "2"})


def respond(scope: Scope, error: Exception) -> Response:
    """Return the response for an exception, in the form that this request expects."""
    known = as_api_error(error)
    if known.status == 500:
        log.error("request failed", method=scope["method"], path=scope["path"], exc_info=error)
    return refuse(scope, known)
