# SPDX-License-Identifier: Apache-2.0
"""Requests to the Kubernetes API.

kubernetes_asyncio handles access (kubeconfig, rotating tokens, exec plugins). Requests use aiohttp directly, on which
that library is based: a Job's body is encoded once for each revision, and no answer is converted to model classes.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import aiohttp
import msgspec
import structlog

from oscar_fedcloud import __version__
from oscar_fedcloud.kube.access import load_access, tls_of
from oscar_fedcloud.kube.errors import KubeError, KubeUnavailable, error_of
from oscar_fedcloud.kube.resource import ResourceType

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration

log = structlog.get_logger(__name__)

T = TypeVar("T")
Body = Mapping[str, Any] | bytes

MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_KEEP_ALIVE = 300.0  # s that an unused connection is kept open for occasional files
_CONNECT = 10.0  # s
_BUSY_TRIES = 8  # attempts while the server is too busy
_LARGE = 1024 * 1024  # bytes; a larger body is sent in pieces
_PAGE = "500"  # objects per page of a list


class KubeClient:
    """Sends requests with one identity to one cluster. Belongs to one event loop; opened by its first request.

    Args:
        kubeconfig: path of the file; empty means the service account of the Pod
        context: context of the kubeconfig; empty means the current one
        connections: maximum number of concurrent requests, not counting watches
        timeout: seconds that an answer may take after the request is sent
    """

    def __init__(
        self, kubeconfig: str = "", context: str = "", *, connections: int = 40, timeout: float = 30.0
    ) -> None:
        self.kubeconfig = kubeconfig
        self.context = context
        self.connections = connections
        self.timeout = timeout
        self._access: Configuration | None = None
        self._session: aiohttp.ClientSession | None = None
        self._streams: aiohttp.ClientSession | None = None
        self._former: set[asyncio.Task[None]] = set()  # tasks that close sessions of rejected credentials
        self._opening = asyncio.Lock()
        self._slots = asyncio.Semaphore(connections)  # waiting for a slot does not count towards the timeout
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Read the credentials. Optional: the first request does it as well. Raises KubeConfigError."""
        async with self._opening:
            if self._access is None:
                self._loop = asyncio.get_running_loop()
                await self._read_access()

    async def _read_access(self) -> None:
        access = await load_access(self.kubeconfig, self.context)
        session, streams = self._make_session(access, self.connections), self._make_session(access, 0)
        self._session, self._streams, self._access = session, streams, access

    def _make_session(self, access: Configuration, connections: int) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=connections, ssl=tls_of(access), keepalive_timeout=_KEEP_ALIVE)
        return aiohttp.ClientSession(access.host, connector=connector)  # trust_env would read ~/.netrc each time

    async def close(self) -> None:
        """Close all connections."""
        sessions, self._session, self._streams, self._access = (self._session, self._streams), None, None, None
        for task in (former := list(self._former)):
            task.cancel()
        await asyncio.gather(*former, return_exceptions=True)
        await _close(sessions)
        await asyncio.sleep(0)  # aborted transports are closed in the next loop iteration

    async def _renew(self, known: Configuration) -> None:
        """Read rejected credentials again. Requests in progress are not interrupted."""
        async with self._opening:
            if self._access is not known:
                return  # another request has renewed them already
            former = (self._session, self._streams)
            await self._read_access()
        task = asyncio.create_task(self._close_later(former))
        self._former.add(task)
        task.add_done_callback(self._former.discard)

    async def _close_later(self, sessions: Sequence[aiohttp.ClientSession | None]) -> None:
        """Close sessions once their requests have been answered, or have timed out."""
        try:
            await asyncio.sleep(_CONNECT + self.timeout)
        finally:
            await _close(sessions)

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a method of this client on its event loop, and wait for the result. Called from threads."""
        if self._loop is None:
            work.close()
            raise RuntimeError("the client was used from a thread before it was opened")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- objects ---------------------------------------------------------------------------------------------------

    async def get(self, resource: ResourceType, name: str, part: str = "") -> dict[str, Any]:
        """Return an object. Raises KubeError (404 if there is none)."""
        return await self.request("GET", resource.path(name, part))

    async def list_objects(self, resource: ResourceType, labels: str = "", fields: str = "") -> list[dict[str, Any]]:
        """Return all current objects that match the selectors. Raises KubeError."""
        return (await self.list_versioned(resource, dict, labels, fields))[0]

    async def list_versioned(
        self, resource: ResourceType, kind: type[T], labels: str = "", fields: str = "", *, lenient: bool = False
    ) -> tuple[list[T], str]:
        """Return the objects decoded to a type, and the resource version from which to watch.

        lenient: leave out objects that cannot be decoded, instead of raising msgspec.ValidationError.
        """
        query = {"labelSelector": labels, "fieldSelector": fields, "limit": _PAGE}
        decoder = msgspec.json.Decoder(_page_of(kind))
        items: list[T] = []
        while True:
            answer = await self.send("GET", resource.path(), query=query)
            try:
                page = decoder.decode(answer)
                items += page.items
            except msgspec.ValidationError:
                if not lenient:
                    raise
                page = msgspec.json.decode(answer, type=_page_of(msgspec.Raw))
                items += readable(page.items, kind, resource)
            if not (following := page.metadata.next):
                return items, page.metadata.version
            query["continue"] = following

    async def create(self, resource: ResourceType, body: Body) -> dict[str, Any]:
        """Create an object. Raises KubeError (409 if the name exists)."""
        return await self.request("POST", resource.path(), body)

    async def replace(self, resource: ResourceType, name: str, body: Body, part: str = "") -> dict[str, Any]:
        """Replace an object. With a resourceVersion, only that version is replaced. Raises KubeError (409)."""
        return await self.request("PUT", resource.path(name, part), body)

    async def patch(
        self,
        resource: ResourceType,
        name: str,
        body: Body,
        part: str = "",
        *,
        content_type: str = MERGE_PATCH,
        **query: str,
    ) -> dict[str, Any]:
        """Patch an object, by a merge patch unless ``content_type`` says otherwise. Raises KubeError."""
        return await self.request("PATCH", resource.path(name, part), body, query=query, content_type=content_type)

    async def delete(self, resource: ResourceType, name: str, body: Body | None = None) -> bool:
        """Delete an object (body: DeleteOptions). Returns False if there is none. Raises KubeError."""
        try:
            await self.send("DELETE", resource.path(name), body)
        except KubeError as error:
            if error.status != 404:
                raise
            return False
        return True

    # -- requests --------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> dict[str, Any]:
        """Send a request and return the JSON object of the answer. Raises KubeError, KubeConfigError."""
        answer = await self.send(method, path, body, query=query, content_type=content_type)
        found: dict[str, Any] = msgspec.json.decode(answer)
        return found

    async def send(
        self,
        method: str,
        path: str,
        body: Body | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        """Send a request and return the bytes of the answer. Raises like ``request``.

        It is repeated only if the server did not execute it: while it is too busy (429), and once with renewed
        credentials (401).
        """
        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        renewed = False
        for tries in range(_BUSY_TRIES):
            async with self._answer(method, path, data, query, content_type) as (answer, access):
                content = await answer.read()
            if answer.status == 401 and not renewed:
                renewed = True
                await self._renew(access)
            elif answer.status == 429 and tries < _BUSY_TRIES - 1:
                await asyncio.sleep(_retry_after(answer))
            elif answer.status >= 400:
                raise error_of(method, path, answer.status, content)
            else:
                break
        return content

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, data: bytes | None, query: Mapping[str, str] | None, content_type: str
    ) -> AsyncIterator[tuple[aiohttp.ClientResponse, Configuration]]:
        async with self._slots:  # must come first: the session may be replaced while waiting
            if self._access is None:
                await self.open()
            access, session = self._access, self._session
            assert access is not None
            assert session is not None
            timeout = aiohttp.ClientTimeout(total=self.timeout, connect=_CONNECT)
            async with _reporting(method, path):
                headers = await headers_of(access, content_type if data is not None else "")
                async with session.request(
                    method,
                    path,
                    data=io.BytesIO(data) if data is not None and len(data) > _LARGE else data,
                    params=_given(query),
                    headers=headers,
                    timeout=timeout,
                    proxy=access.proxy,
                    server_hostname=access.tls_server_name,
                ) as answer:
                    yield answer, access

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], silence: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Stream an answer. silence: s without data after which the connection counts as dead. Raises KubeError."""
        await self.open()
        access, session = self._access, self._streams
        assert access is not None
        assert session is not None
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT, sock_read=silence)
        async with _reporting("GET", path):
            async with session.get(
                path,
                params=_given(query),
                headers=await headers_of(access),
                timeout=timeout,
                proxy=access.proxy,
                server_hostname=access.tls_server_name,
            ) as answer:
                if answer.status == 401:
                    await self._renew(access)
                if answer.status >= 400:
                    raise error_of("GET", path, answer.status, await answer.read())
                try:
                    yield answer
                finally:
                    # The answer is incomplete: a graceful TLS shutdown could outlast this client.
                    if answer.connection is not None and answer.connection.transport is not None:
                        answer.connection.transport.abort()


async def _close(sessions: Sequence[aiohttp.ClientSession | None]) -> None:
    for session in sessions:
        if session is not None:
            await session.close()


async def headers_of(access: Configuration, content_type: str = "") -> dict[str, str]:
    """Return the headers of a request. The library renews an expired token."""
    headers = {"Accept": "application/json", "User-Agent": f"oscar-fedcloud/{__version__}"}
    if content_type:
        headers["Content-Type"] = content_type
    if token := await access.get_api_key_with_prefix("BearerToken"):
        headers["Authorization"] = token
    return headers


@asynccontextmanager
async def _reporting(method: str, path: str) -> AsyncIterator[None]:
    """Turn errors that leave it open whether a request was executed into KubeUnavailable."""
    try:
        yield
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        what = str(error) or type(error).__name__
        raise KubeUnavailable(0, "NoAnswer", f"the API server did not answer {method} {path}: {what}") from error


def _given(query: Mapping[str, str] | None) -> dict[str, str]:
    return {name: value for name, value in (query or {}).items() if value}


def _retry_after(answer: aiohttp.ClientResponse) -> float:
    told = answer.headers.get("Retry-After", "")
    return min(10.0, float(told)) if told.isdigit() else 1.0


class PageMetadata(msgspec.Struct, frozen=True):
    """Metadata of a page of a list."""

    version: str = msgspec.field(name="resourceVersion", default="")
    next: str = msgspec.field(name="continue", default="")


def _page_of(kind: type[T]) -> Any:
    return msgspec.defstruct("Page", [("metadata", PageMetadata), ("items", list[kind])], frozen=True)  # type: ignore[valid-type]


def readable(items: Iterable[msgspec.Raw], kind: type[T], resource: ResourceType) -> Iterator[T]:
    """Yield the objects that can be decoded, and log the others."""
    for item in items:
        try:
            yield msgspec.json.decode(item, type=kind)
        except msgspec.ValidationError as error:
            log.warning("an object cannot be read and is left out", what=resource.plural, error=str(error))
