# SPDX-License-Identifier: BSD-2-Clause
# Copyright: the OSCAR for FedCloud developers
# Simplified BSD License (see LICENSES/BSD-2-Clause.txt or https://opensource.org/licenses/BSD-2-Clause)
"""PRIVATE to the collection: requests to the invoker's HTTP API, and its errors as sentences.

Needs only the standard library and ``ansible.module_utils.urls``.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

from ansible.module_utils.urls import ConnectionError as UrlsError
from ansible.module_utils.urls import open_url

if TYPE_CHECKING:
    from .._fdl import FdlProblem

PAGE = 500  # items in one answer
REPEATS = 5  # of a request for which the server has no room
LONGEST_WAIT = 30  # s that a server may ask us to wait

_FIELDS = ("path", "value", "message", "hint")
_PLACE = ("file", "line", "column")

ACCEPT = "application/json, application/problem+json, */*"


class OscarError(Exception):
    """Why a module fails: ``message`` for the user, ``details`` as further return values."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Unreachable(OscarError):
    """No answer came from the server."""


class ApiError(OscarError):
    """The server refused a request.

    status: of HTTP. is_problem: the answer was a problem document, as the invoker sends them. errors: what it lists.
    """

    def __init__(
        self, message: str, status: int, is_problem: bool = False, errors: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(message, status=status, errors=list(errors))
        self.status = status
        self.is_problem = is_problem


class Busy(ApiError):
    """The server has no room for the request at the moment. wait: seconds after which to ask again."""

    def __init__(
        self, message: str, status: int, is_problem: bool, errors: Iterable[Mapping[str, Any]], wait: int
    ) -> None:
        super().__init__(message, status, is_problem, errors)
        self.wait = wait


def describe(problems: Iterable[FdlProblem]) -> str:
    """One message for all problems of a request: the same words whether they were found here or by the server."""
    lines = [str(problem) for problem in problems]
    if len(lines) == 1:
        return lines[0]
    return "\n".join([f"{len(lines)} errors were found:", *(f"- {line}" for line in lines)])


def as_errors(problems: Iterable[FdlProblem]) -> list[dict[str, Any]]:
    """Problems as the server lists them in a problem document."""
    errors = []
    for problem in problems:
        error = {name: getattr(problem, name) for name in _FIELDS}
        errors.append({**error, **{name: getattr(problem, name) for name in _PLACE if getattr(problem, name)}})
    return errors


def as_problems(errors: Iterable[Mapping[str, Any]]) -> list[FdlProblem]:
    """The inverse of ``as_errors``."""
    from .._fdl import FdlProblem  # here, since a target compiles it anew for each task, and most tasks do not fail

    return [
        FdlProblem(
            **{name: error.get(name, "") for name in _FIELDS},
            **{name: error[name] for name in _PLACE if name in error},
        )
        for error in errors
    ]


def path(*segments: str) -> str:
    """A URL path; each segment is quoted, slashes too. A trailing ``:verb`` is part of its segment."""
    return "".join("/" + quote(segment.encode("utf-8", "surrogateescape"), safe=":") for segment in segments)


def object_path(bucket: str, key: str) -> str:
    """The URL path of an object. Slashes in the key stay as they are."""
    return path("v2", "buckets", bucket, "objects") + "/" + quote(key.encode("utf-8", "surrogateescape"))


class _Answer(dict):
    """An object of an answer; a member that it must have and lacks is an error of the server."""

    def __missing__(self, name: str) -> NoReturn:
        raise OscarError(f"the server's answer has no {name!r}; endpoint must be the base URL of the API")


class Client:
    """One server, and the identity by which it is asked."""

    def __init__(
        self,
        endpoint: str,
        username: str = "",
        password: str | None = None,
        token: str | None = None,
        validate_certs: bool = True,
        ca_path: str | None = None,
        timeout: int = 60,
    ) -> None:
        self.endpoint = endpoint.rstrip("/")
        self._sleep = time.sleep
        self._who = "the token" if token else f"user {username}"
        self._authorization = _authorization(username, password, token)
        self._options = {"validate_certs": validate_certs, "ca_path": ca_path, "timeout": timeout}

    @classmethod
    def from_params(cls, params: Mapping[str, Any]) -> Client:
        """The client that the connection options of a module describe."""
        names = ("endpoint", "username", "password", "token", "validate_certs", "ca_path", "timeout")
        return cls(**{name: params[name] for name in names})

    def get(self, where: str, **query: Any) -> Any:
        """The JSON answer to GET. Query parameters that are None are left out."""
        return self.send("GET", where, query=query)

    def all(self, where: str, items: str, **query: Any) -> Iterator[Any]:
        """All items of a list, page by page."""
        cursor = None
        while True:
            page = self.get(where, cursor=cursor, **query)
            yield from page[items]
            cursor = page.get("cursor") or None
            if cursor is None:
                return

    def post(self, where: str, body: Any = None, **query: Any) -> Any:
        """The JSON answer to POST of a JSON body."""
        data = b"" if body is None else json.dumps(body).encode("utf-8")
        return self.send("POST", where, data, query, {"Content-Type": "application/json"})

    def send(
        self,
        method: str,
        where: str,
        data: bytes | BinaryIO | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON answer to any request; None when its body is empty."""
        return self.exchange(method, where, data, query, headers)[0]

    def exchange(
        self,
        method: str,
        where: str,
        data: bytes | BinaryIO | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Any, Mapping[str, str]]:
        """The same, with the headers of the answer."""
        with self.open(method, where, data, query, headers) as response:
            body, answered = self._read(response), response.headers
        if not body.strip():
            return None, answered
        try:
            found = json.loads(body, object_hook=_Answer)
        except (ValueError, RecursionError) as error:
            raise self._unusable(method, where, "is not JSON") from error
        if not isinstance(found, _Answer):
            raise self._unusable(method, where, "is no JSON object")
        return found, answered

    def _unusable(self, method: str, where: str, what: str) -> OscarError:
        return OscarError(
            f"{self.endpoint} answered {method} {where} by something that {what}; "
            "endpoint must be the base URL of the API"
        )

    def text(self, where: str, **query: Any) -> str:
        """The body of the answer to GET, as text."""
        with self.open("GET", where, query=query) as response:
            return self._read(response).decode("utf-8", "replace")

    def open(
        self,
        method: str,
        where: str,
        data: bytes | BinaryIO | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The open response to a request. ``data``: the body. Raises ApiError, Unreachable.

        A server that has no room for the request at the moment is asked again when it says so.
        """
        for _attempt in range(REPEATS):
            try:
                return self._open(method, where, data, query, headers)
            except Busy as error:
                self._sleep(error.wait)
                if data is not None and not isinstance(data, bytes):
                    data.seek(0)
        return self._open(method, where, data, query, headers)

    def _open(
        self,
        method: str,
        where: str,
        data: bytes | BinaryIO | None,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
    ) -> Any:
        query = {name: value for name, value in (query or {}).items() if value is not None}
        url = self.endpoint + where + ("?" + urlencode(query, errors="surrogateescape") if query else "")
        try:
            return open_url(
                url,
                data=data,
                headers={"Accept": ACCEPT, **self._authorization, **(headers or {})},
                method=method,
                follow_redirects="safe",
                use_netrc=False,
                **self._options,
            )
        except HTTPError as error:
            raise self._refusal(error, method, where) from error
        except (URLError, UrlsError, HTTPException, OSError, ValueError) as error:
            raise self._unreachable(error) from error

    def _read(self, response: Any) -> bytes:
        try:
            return response.read()
        except (HTTPException, OSError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> Unreachable:
        reason = getattr(error, "reason", None) or error
        reason = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        return Unreachable(f"{self.endpoint} cannot be reached{through_proxy(self.endpoint)}: {reason}")

    def _refusal(self, error: HTTPError, method: str, where: str) -> ApiError:
        """The ApiError that an answer with a status of 300 and more stands for."""
        try:
            body = error.read()
        except (HTTPException, OSError):
            body = b""  # the status alone still says what happened
        problem = _problem(error.headers.get("Content-Type") or "", body) or {}
        errors = problem.get("errors") or ()
        detail = problem.get("detail") or " ".join(body.decode("utf-8", "replace").split())[:300] or error.reason
        if errors:
            message = describe(as_problems(errors))
        elif error.code == 401:
            message = f"{self.endpoint} refused {self._who}: {detail}"
        elif error.code < 400:
            message = f"{self.endpoint} redirects to {error.headers.get('Location')}; set endpoint to that address"
        elif problem and detail != problem.get("title"):
            message = str(detail)
        elif error.code == 404 and where.startswith("/v2/"):
            message = f"{self.endpoint} has no {where}; endpoint must be the base URL of an invoker of this collection"
        else:
            message = f"{method} {self.endpoint}{where} failed with HTTP status {error.code}: {detail}"
        wait = error.headers.get("Retry-After") or ""
        if error.code in (429, 503) and wait.isdigit() and int(wait) <= LONGEST_WAIT:
            return Busy(message, error.code, bool(problem), errors, int(wait))
        return ApiError(message, error.code, bool(problem), errors)


def through_proxy(url: str) -> str:
    """Where a request goes instead of to the server, as words for a message: "" without a proxy of the environment."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if not proxy or not parts.hostname or proxy_bypass(parts.hostname):
        return ""
    name = f"{parts.scheme}_proxy"
    return f" through the proxy {_without_password(proxy)} (environment variable {name}; no_proxy excepts hosts)"


def _without_password(url: str) -> str:
    head, at, rest = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{rest}" if at else url


def _authorization(username: str, password: str | None, token: str | None) -> dict[str, str]:
    if token:
        return {"Authorization": f"Bearer {token}"}
    if password is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")}


def _problem(content_type: str, body: bytes) -> dict[str, Any] | None:
    """The problem document of an error, or None when the server sent something else."""
    if "application/problem+json" not in content_type:
        return None
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(problem, dict):
        return None
    errors = problem.get("errors")
    told = errors if isinstance(errors, list) else []
    return {**problem, "errors": [error for error in told if _is_error(error)]}


def _is_error(error: Any) -> bool:
    return isinstance(error, dict) and all(isinstance(error.get(name, ""), str) for name in ("path", "message", "hint"))
