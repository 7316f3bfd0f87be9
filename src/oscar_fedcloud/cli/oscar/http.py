# SPDX-License-Identifier: Apache-2.0
"""Requests to a server, with its errors as sentences. One connection pool, safe for several threads."""

from __future__ import annotations

import contextlib
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from oscar_fedcloud.cli.oscar import answers
from oscar_fedcloud.cli.oscar.contexts import Context
from oscar_fedcloud.cli.oscar.errors import CommandError, Denied, Missing, Unreachable, WrongUse

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Answer = tuple[bytes, Mapping[str, str]]  # body and headers

PROBLEM = "application/problem+json"
CONNECTIONS = 16
PATIENCE = 60.0  # s for one response
CONNECT = 10.0  # s
BUSY = (429, 502, 503, 504)  # statuses after which a retry may succeed
PAUSES = (0.3, 1.0, 3.0)  # s before the second, third and fourth attempt
LONGEST_MESSAGE = 1000  # characters of a body that is not a problem document


class Refused(CommandError):
    """The server responded with an error. ``problem`` is the problem document, empty if it sent something else."""

    def __init__(self, message: str, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem


def segment(name: str) -> str:
    """Return one segment of a path, quoted. Raises WrongUse for a name that would change the path."""
    if name in ("", ".", "..") or "\0" in name:
        raise WrongUse(f"{name!r} is not a usable name")
    return quote(name.encode("utf-8", "surrogateescape"), safe="")


def key_path(key: str) -> str:
    """Return an object's key as part of a path; its slashes are kept. Raises WrongUse."""
    return "/".join(segment(part) for part in key.split("/"))


class Http:
    """The connections to the server of one context."""

    def __init__(self, context: Context, authorization: Callable[[], Mapping[str, str]]) -> None:
        import httpx

        self.context = context
        self.endpoint = context.endpoint
        self._authorization = authorization
        self._worked = False  # a server that never responded is not retried
        trust = _trust(context)
        try:
            self._client = httpx.Client(
                verify=trust,
                timeout=httpx.Timeout(PATIENCE, connect=CONNECT),
                limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
                headers={"Accept": f"application/json, {PROBLEM}, */*", "User-Agent": "oscar"},
            )
        except (ValueError, httpx.InvalidURL, ImportError) as error:  # of a proxy; each type needs a module of its own
            raise WrongUse(_no_proxy(error)) from error

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def json(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON response to a request; None if it is empty. Raises CommandError.

        Args:
            shape: a type of ``answers`` that the response must match.
        """
        shape = options.pop("shape", None)
        body = self.bytes(method, path, **options)
        if not body.strip() and shape is None:
            return None
        import json

        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise Unreachable(f"{self.endpoint} answered {method} {path} with something that is not JSON") from None
        if shape is not None and (problem := answers.problem(found, shape)):
            raise Unreachable(f"{self.endpoint} answered {method} {path} with something unexpected: {problem}")
        return found

    def bytes(self, method: str, path: str, **options: Any) -> bytes:
        """Return the body of the response to a request. Raises CommandError."""
        return self.answer(method, path, **options)[0]

    def answer(self, method: str, path: str, **options: Any) -> Answer:
        """Return body and headers of the response to a request. Raises CommandError."""

        def ask() -> Answer:
            with self.stream(method, path, **options) as answer:
                return answer.read(), answer.headers

        return self.repeated(ask) if method == "GET" else ask()

    @contextlib.contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """Provide the open response to a request. Raises CommandError, also for errors while it is read.

        Args:
            allow: error statuses that are accepted as responses.
        """
        import httpx

        allow = options.pop("allow", ())

        query = {name: value for name, value in (options.pop("query", None) or {}).items() if value not in (None, "")}
        headers = {**self._authorization(), **(options.pop("headers", None) or {})}
        url = self.endpoint + path + _query(query)
        try:
            with self._client.stream(method, url, headers=headers, **options) as answer:
                if not answer.is_success and answer.status_code not in allow:
                    answer.read()
                    raise self._refusal(answer, method, path)
                self._worked = True
                yield answer
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        except (httpx.InvalidURL, ValueError) as error:
            raise WrongUse(f"{self.endpoint}{path} is not an address: {error}") from error

    def repeated(self, ask: Callable[[], T]) -> T:
        """Return the result of ``ask``, retrying a few times if a server that worked before is away or busy."""
        for pause in PAUSES:
            try:
                return ask()
            except Unreachable:
                if not self._worked:
                    raise
            except Refused as error:
                if error.status not in BUSY:
                    raise
            time.sleep(pause)
        return ask()

    def _unreachable(self, error: httpx.HTTPError) -> Unreachable:
        import httpx

        reason = str(error.__cause__ or "") or str(error) or type(error).__name__
        if isinstance(error, httpx.TimeoutException):
            reason = f"no answer within {CONNECT if isinstance(error, httpx.ConnectTimeout) else PATIENCE:g} s"
        proxy = proxy_of(self.endpoint)
        way = f" by the proxy {proxy} (see http_proxy, https_proxy, no_proxy)" if proxy else ""
        return Unreachable(f"{self.endpoint} cannot be reached{way}: {_bare(reason)}")

    def _refusal(self, answer: httpx.Response, method: str, path: str) -> CommandError:
        problem = _problem(answer)
        status, detail = answer.status_code, _detail(problem, answer)
        if status < 400:
            where = answer.headers.get("location", "another address")
            return Unreachable(f"{self.endpoint} redirects to {where}; set the endpoint of the context to that address")
        if status in (401, 403):
            return Denied(f"{self.endpoint} refused {self._who()}: {detail}")
        if status == 404 and (problem or not path.startswith("/v2/")):
            return Missing(detail)
        if status in (500, *BUSY) and not problem:
            return Unreachable(f"{self.endpoint} answered {method} {path} with HTTP status {status}: {detail}")
        message = detail if problem else f"{method} {self.endpoint}{path} failed with HTTP status {status}: {detail}"
        return Refused(message, status, problem)

    def _who(self) -> str:
        context = self.context
        if context.token or context.token_file:
            return "the token"
        if context.oidc_refresh_token or context.oidc_account:
            return "the access token"
        return f"user {context.username}"


def _trust(context: Context) -> ssl.SSLContext | bool:
    """Return which certificates are trusted. Raises WrongUse."""
    if not context.verify or context.endpoint.startswith("http://"):
        return False  # reading the certificate authorities takes longer than most requests
    if not context.ca_file:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=str(Path(context.ca_file).expanduser()))
    except (OSError, ssl.SSLError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WrongUse(f"context {context.name}: ca_file {context.ca_file} cannot be used: {reason}") from error


def _query(query: Mapping[str, Any]) -> str:
    if not query:
        return ""
    from urllib.parse import urlencode

    return "?" + urlencode(query, errors="surrogateescape")


def proxy_of(endpoint: str) -> str:
    """Return the proxy that the environment sets for this address, without its password, or ""."""
    parts = urlsplit(endpoint)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    if not proxy or urllib.request.proxy_bypass(parts.netloc.rpartition("@")[2]):
        return ""
    return proxy.rpartition("@")[2]


def _no_proxy(error: Exception) -> str:
    """Return the message that a proxy of the environment cannot be used, whichever one it is."""
    reason = "SOCKS is not supported" if isinstance(error, ImportError) else "it is not an address"
    names = ", ".join(f"{scheme}_proxy" for scheme in urllib.request.getproxies() if scheme != "no")
    return f"a proxy of the environment ({names}) cannot be used: {reason}; unset it, or name the host in no_proxy"


def _bare(reason: str) -> str:
    """Return the reason without the error number."""
    return reason.partition("] ")[2] if reason.startswith("[Errno") else reason


def _problem(answer: httpx.Response) -> Mapping[str, Any]:
    if PROBLEM not in answer.headers.get("content-type", ""):
        return {}
    try:
        problem = answer.json()
    except (ValueError, RecursionError):
        return {}
    if not isinstance(problem, dict):
        return {}
    errors = problem.get("errors") or ()
    told = errors if isinstance(errors, list) else ()
    return {**problem, "errors": [each for each in told if not answers.problem(each, answers.FieldProblem)]}


def _detail(problem: Mapping[str, Any], answer: httpx.Response) -> str:
    errors = problem.get("errors") or ()
    if errors:
        lines = [_field(each) for each in errors]
        return lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} errors:", *(f"- {line}" for line in lines)])
    text = str(problem.get("detail") or problem.get("title") or "") or " ".join(answer.text.split())[:LONGEST_MESSAGE]
    return text or answer.reason_phrase or f"HTTP status {answer.status_code}"


def _field(error: Mapping[str, Any]) -> str:
    text = f"{error.get('path', '')}: {error.get('message', '')}"
    return f"{text}; {error['hint']}" if error.get("hint") else text
