# SPDX-License-Identifier: Apache-2.0
"""Buckets and objects of the site's store, for clients that hold no keys of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from starlette.responses import Response, StreamingResponse

from oscar_fedcloud.api.context import RequestContext
from oscar_fedcloud.api.paging import PAGE, cursor_of, named_by, page
from oscar_fedcloud.api.routing import BYTES, Parameter, Route
from oscar_fedcloud.api.v2 import serializers as present
from oscar_fedcloud.api.v2 import views
from oscar_fedcloud.api.v2.bucket_use import own_use, users_of
from oscar_fedcloud.domain.events import StorageEvent
from oscar_fedcloud.domain.services import NotFound
from oscar_fedcloud.domain.stores import Prefix
from oscar_fedcloud.server.encoding import answer, begun, encode
from oscar_fedcloud.server.problems import ApiError, invalid
from oscar_fedcloud.storage.errors import BucketMissing, UnusableRows
from oscar_fedcloud.storage.object_keys import stageable
from oscar_fedcloud.storage.ports import ObjectStore
from oscar_fedcloud.storage.rows import some_rows

P = ParamSpec("P")
T = TypeVar("T")

_NAME = re.compile(r"(?!.*(?:\.\.|\.-|-\.))(?!\d+\.\d+\.\d+\.\d+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MOST = 100_000  # objects in one answer


async def list_buckets(call: RequestContext) -> Response:
    """The names of all buckets, by page."""
    after = named_by(call)
    names = sorted(name for name in await _ask(call, _store(call).buckets) if name > after)
    shown, cursor = page(call, names, cursor_of)
    return answer(views.Buckets([views.Bucket(name) for name in shown], cursor))


async def get_bucket(call: RequestContext) -> Response:
    """A bucket, if it exists."""
    bucket = _bucket(call)
    if bucket not in await _ask(call, _store(call).buckets):
        call.invoker.reconciler.bucket_missing(_store(call).id, bucket)
        raise NotFound(f"bucket {bucket} does not exist")
    return answer(views.Bucket(bucket))


async def put_bucket(call: RequestContext) -> Response:
    """Make sure that a bucket exists."""
    bucket = call.param("bucket")
    if not _NAME.fullmatch(bucket):
        hint = "3 to 63 lower-case letters, digits, hyphens and single dots, with a letter or digit at both ends"
        raise invalid("bucket", bucket, f"{bucket!r} is not a bucket name", hint)
    created = await _ask(call, _store(call).ensure_bucket, bucket)
    return answer(views.Bucket(bucket), 201 if created else 200)


async def delete_bucket(call: RequestContext) -> Response:
    """Delete a bucket; with its objects only when ``data=delete`` is asked for.

    One that services use is deleted with ``force`` only. It is made again, empty, since they are declared still.
    """
    data = call.query.get("data", "keep")
    if data not in ("keep", "delete"):
        raise invalid("query.data", data, f"{data!r} is not keep or delete")
    force = call.flag("force")
    store, bucket = _store(call), _bucket(call)
    if own := own_use(call.invoker.config, store.id, bucket):
        raise ApiError(409, f"bucket {bucket} cannot be deleted: the server keeps {own} there")
    users = users_of((one.service for one in call.invoker.catalogue.all_declared()), store.id, bucket)
    if users and not force and bucket in await _ask(call, store.buckets):
        raise ApiError(
            409, f"bucket {bucket} is used by {', '.join(users)}; remove these services first, or give force"
        )
    with _noticing(call, store):
        await _ask(call, store.delete_bucket, bucket, data == "delete")
    call.invoker.reconciler.bucket_missing(store.id, bucket)
    return Response(status_code=204)


@contextmanager
def _noticing(call: RequestContext, store: ObjectStore) -> Iterator[None]:
    """Tell the daemon of a bucket that turns out to be missing, so that services which use it show that at once."""
    try:
        yield
    except BucketMissing:
        call.invoker.reconciler.bucket_missing(store.id, call.param("bucket"))
        raise


def _bucket(call: RequestContext) -> str:
    """The bucket that the path names. Raises NotFound for a name that no bucket can have."""
    bucket = call.param("bucket")
    if not _NAME.fullmatch(bucket):
        raise NotFound(f"bucket {bucket} does not exist, since {bucket!r} is not a bucket name")
    return bucket


async def list_objects(call: RequestContext) -> Response:
    """Objects of a bucket in the order of their keys."""
    limit = call.number("limit", 1000, 1, _MOST)
    after = named_by(call)
    where = Prefix(_bucket(call), call.query.get("prefix", ""))
    store = _store(call)
    with _noticing(call, store):
        events = await _ask(call, _page, store, where, after, limit + 1)
    body = await asyncio.to_thread(_encoded, events, limit)
    return Response(body, media_type="application/json")


def _page(store: ObjectStore, where: Prefix, after: str, limit: int) -> list[StorageEvent]:
    """At most ``limit`` objects whose keys come behind ``after``. Blocks."""
    found, problem = some_rows(iter(store.list(where, after, limit)), limit)
    if problem is not None and not isinstance(problem, UnusableRows):
        raise problem
    return found


def _encoded(events: Sequence[StorageEvent], limit: int) -> bytes:
    more = len(events) > limit
    cursor = cursor_of(events[limit - 1].key) if more else ""
    return encode(views.Objects([present.object_view(event) for event in events[:limit]], more, cursor))


async def put_object(call: RequestContext) -> Response:
    """Store the request's body as an object."""
    key = call.object_key
    if not stageable(key):
        raise invalid("key", key, f"{key!r} is not a usable key", "no empty, '.' or '..' path segment, no NUL")
    store = _store(call)
    bucket = _bucket(call)
    body = await call.body(call.api.limits.max_body)
    with _noticing(call, store):
        event = await _ask(call, store.put_file, bucket, key, body.file, body.size)
    return answer(present.object_view(event), 201)


async def get_object(call: RequestContext) -> Response:
    """The bytes of an object."""
    bucket, key = _bucket(call), call.object_key
    chunks = await _ask(call, _store(call).read, bucket, key) if stageable(key) else None
    if chunks is None:
        raise NotFound(f"bucket {bucket} has no object {key!r}")
    return StreamingResponse(await begun(_streamed(call, chunks)), media_type=BYTES)


async def _streamed(call: RequestContext, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of an object, each read in a thread of its store."""
    while (chunk := await _ask(call, lambda: next(chunks, None))) is not None:
        yield chunk


async def delete_object(call: RequestContext) -> Response:
    """Delete an object."""
    store, bucket, key = _store(call), _bucket(call), call.object_key
    if own := own_use(call.invoker.config, store.id, bucket):
        raise ApiError(409, f"objects of bucket {bucket} cannot be deleted: the server keeps {own} there")
    with _noticing(call, store):
        removed = stageable(key) and await _ask(call, store.remove, bucket, key)
    if not removed:
        raise NotFound(f"bucket {bucket} has no object {key!r}")
    return Response(status_code=204)


async def _ask(call: RequestContext, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The answer of the store that the query names, in one of its own threads. Raises StoreError."""
    return await call.invoker.stores.run(_store(call).id, ask, *args, **kwargs)


def _store(call: RequestContext) -> ObjectStore:
    """The provider that the query names, else the site's own."""
    providers = call.invoker.stores
    name = call.query.get("provider", call.invoker.config.site_store_id)
    if name not in providers:
        hint = f"known are: {', '.join(providers)}"
        raise invalid("query.provider", name, f"{name!r} is not a storage provider", hint)
    return providers[name]


_PROVIDER = Parameter("provider", "storage provider, by default the site's own")
_DATA = Parameter("data", "keep (default: fails when there are objects) or delete")
_FORCE = Parameter("force", "delete it although services use it", "boolean")
_LIST = (
    _PROVIDER,
    Parameter("prefix", "of the keys"),
    Parameter("limit", "objects on a page, 1 to 100000, by default 1000", "integer"),
    Parameter("cursor", "of the page before"),
)
_BUCKET = "/v2/buckets/{bucket}"
_OBJECT = "/v2/buckets/{bucket}/objects/{key:key}"

ROUTES = (
    Route(
        "GET",
        "/v2/buckets",
        list_buckets,
        "All buckets",
        "bucket",
        views.Buckets,
        parameters=(_PROVIDER, *PAGE),
        errors=(422,),
    ),
    Route("GET", _BUCKET, get_bucket, "One bucket", "bucket", views.Bucket, parameters=(_PROVIDER,), errors=(404,)),
    Route(
        "PUT",
        _BUCKET,
        put_bucket,
        "Make sure that a bucket exists (201 when it is new)",
        "bucket",
        views.Bucket,
        parameters=(_PROVIDER,),
        errors=(201, 422),
    ),
    Route(
        "DELETE",
        _BUCKET,
        delete_bucket,
        "Delete a bucket",
        "bucket",
        status=204,
        parameters=(_PROVIDER, _DATA, _FORCE),
        errors=(404, 409, 422),
    ),
    Route(
        "GET",
        f"{_BUCKET}/objects",
        list_objects,
        "Objects",
        "bucket",
        views.Objects,
        parameters=_LIST,
        errors=(404, 422),
    ),
    Route(
        "PUT",
        _OBJECT,
        put_object,
        "Store an object",
        "bucket",
        views.Object,
        201,
        request=BYTES,
        parameters=(_PROVIDER,),
        errors=(404, 422),
    ),
    Route(
        "GET", _OBJECT, get_object, "The bytes of an object", "bucket", BYTES, parameters=(_PROVIDER,), errors=(404,)
    ),
    Route(
        "DELETE",
        _OBJECT,
        delete_object,
        "Delete an object",
        "bucket",
        status=204,
        parameters=(_PROVIDER,),
        errors=(404, 409),
    ),
)
